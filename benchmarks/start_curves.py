"""Compare training from scratch and from a bundled model: a table and a figure of docs/train-on-my-folder.md.

    python benchmarks/start_curves.py pictures/tried

The folder is that of ``start_pictures.py``: of each kind, 50 to 3,000 pictures to learn from and the same 300 held out.
From a bundled model, ``glow fit`` chooses everything. From scratch, runs are as long as overfitting needs; their best
validation counts. Runs that are done already are not repeated.
"""

import argparse
import csv
from pathlib import Path

import torch
from common import DOCS, glow, write_result, write_table

from glow_app import load_model
from glow_app.pictures.images import picture_of_rows

KINDS = {"horses": "photographs (horses)", "faces": "faces", "icons": "icons", "drawings": "drawings"}
SCRATCH_STEPS = {50: 400, 200: 800, 600: 1200, 3000: 2400}
SHOWN = 200  # training pictures of the models whose samples are shown
NUM_SHOWN = 12
ENDS = {"from scratch": "-0", "bundled start": ""}  # of the names of runs


def curve_of(run: Path) -> list[tuple[int, float]]:
    """Return the steps and the validation bits/dim of a run."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [(row["step"], row.get("val/bpd")) for row in csv.DictReader(file)]
    return [(int(step) + 1, float(bits)) for step, bits in rows if bits]


def train(folder: Path, run: Path, options: list[str]) -> list[tuple[int, float]]:
    """Train if there is no such run yet; return its curve."""
    if not (run / "model").exists():
        glow("fit", str(folder), f"--run_dir={run}", "--device=cpu", *options)
    return curve_of(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tried", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/start"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=SCRATCH_STEPS, default=list(SCRATCH_STEPS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    rows = []
    for kind in args.kinds:
        for size in args.sizes:
            folder, run = args.tried / kind / str(size), args.runs / f"{kind}-{size}"
            if not folder.exists():
                continue
            steps = SCRATCH_STEPS[size]
            scratch = ["--from-scratch", f"--trainer.max_steps={steps}", "--early_stopping.patience=4"]
            pair = {"start": train(folder, run, []), "scratch": train(folder, args.runs / f"{run.name}-0", scratch)}
            curves[run.name] = pair
            best = {name: min((bits, step) for step, bits in curve) for name, curve in pair.items()}
            cells = [f"{bits:.3f} ({step:,} steps)" for bits, step in (best["start"], best["scratch"])]
            rows.append([KINDS[kind], f"{size:,}", *cells, f"{best['scratch'][0] - best['start'][0]:.3f}"])
    write_result("start_curves", {"curves": curves})
    header = ["pictures", "to learn from", "from the bundled model", "from scratch, best", "gain"]
    write_table("start_curves", header, rows, "train-on-my-folder.md")
    shown = {f"{kind}, {name}": f"{kind}-{SHOWN}{end}" for kind in args.kinds for name, end in ENDS.items()}
    rows_shown = [load_model(args.runs / run).sample(NUM_SHOWN, seeds=0) for run in shown.values()]
    picture_of_rows(rows_shown, left=list(shown)).save(DOCS / "images/fit-start.webp", quality=85)


if __name__ == "__main__":
    main()
