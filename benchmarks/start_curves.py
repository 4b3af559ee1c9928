"""Train on folders of pictures as `glow fit` does: a table and a figure of docs/train-on-my-folder.md.

    python benchmarks/start_curves.py pictures/tried

The folder is that of ``start_pictures.py``. Runs that are done already are not repeated.
"""

import argparse
import csv
from operator import itemgetter
from pathlib import Path

import torch
from common import DOCS, glow, write_result, write_table

from glow_app import load_model
from glow_app.pictures.images import picture_of_rows
from glow_app.pictures.inputs import as_images

KINDS = {"faces": 600, "icons": 300, "photographs": 300}  # and the pictures of each to learn from
NUM_SHOWN, SHOWN = 8, 128
RUNS = [*((kind, number, SHOWN) for kind, number in KINDS.items()), ("horses", 600, 32)]


def curve_of(run: Path) -> list[tuple[int, float]]:
    """Return the steps and the validation bits/dim of a run."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [(row["step"], row.get("val/bpd")) for row in csv.DictReader(file)]
    return [(int(step) + 1, float(bits)) for step, bits in rows if bits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tried", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/start"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    curves, rows = {}, []
    for kind, number, size in RUNS:
        run = args.runs / f"{kind}-{size}"
        if not (run / "model").exists():
            glow("fit", f"{args.tried / kind}/{number}", f"--run_dir={run}", "--device=cpu", f"--size={size}")
        curves[run.name] = curve_of(run)
        step, bits = min(curves[run.name], key=itemgetter(1))
        rows.append([kind, str(number), f"{size}x{size}", f"{bits:.3f}", f"{step:,}"])
    write_result("start_curves", {"curves": curves})
    write_table(
        "start_curves", ["pictures", "to learn from", "size", "bits/dim", "best step"], rows, "train-on-my-folder.md"
    )
    shown = {}
    for kind, number in KINDS.items():
        paths = sorted((args.tried / kind / str(number) / "train").iterdir())[:NUM_SHOWN]
        shown[kind] = as_images(paths, (3, SHOWN, SHOWN))
        shown[f"{kind}, samples"] = load_model(args.runs / f"{kind}-{SHOWN}").sample(NUM_SHOWN, seeds=0)
    picture_of_rows(list(shown.values()), left=list(shown)).save(DOCS / "images/fit-start.webp", quality=85)


if __name__ == "__main__":
    main()
