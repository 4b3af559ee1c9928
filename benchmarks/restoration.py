"""Measure how well the presets of restore/ restore held-out CIFAR-10 pictures: a table of docs/restorers.md.

    python benchmarks/restoration.py FOLDER
    python benchmarks/restoration.py FOLDER --only upscale4 fill --steps 3000

FOLDER contains 32x32 pictures, one file each. Every preset is trained on them by `glow fit` with bfloat16 on one
thread, and measured by `glow evaluate` at temperature 1. The table shows the processor time of the training.
The figures of other presets are kept.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from common import describe_machine, earlier_results, glow, write_result, write_table

PRESETS = ("upscale2", "upscale4", "clean", "colourise", "fill")
PRECISION = "bf16-mixed"
SMALL = ["--flow.image_shape=[3,32,32]", "--data.source=folder", f"--trainer.precision={PRECISION}"]


def measure(preset: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a preset and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        options = [f"--data.root={arguments.root}", f"--trainer.max_steps={arguments.steps}"]
        glow("fit", "--config", f"restore/{preset}", "--run_dir", f"{folder}/run", *SMALL, *options)
        after = os.times()
        draws = ["--count", "16", "--temperature", "1", "--limit", str(arguments.limit)]
        glow("evaluate", "--checkpoint", f"{folder}/run", "--output", f"{folder}/out", *draws)
        figures = json.loads(Path(f"{folder}/out/evaluation.json").read_text())
        del figures["data"]["root"]  # a path on this machine
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    facts = {"machine": describe_machine(), "precision": PRECISION, "steps": arguments.steps}
    return {"seconds": round(seconds), **facts, **figures}


def row(preset: str, figures: dict[str, Any]) -> list[str]:
    """Return a preset's row of the table."""
    kinds = figures["restorations"]

    def ratio(kind: str) -> str:
        return f"{kinds[kind]['psnr']['mean']:.2f}"

    base = f"{ratio('base')} ({kinds['base']['name']})"
    bits = f"{figures['bits_per_dim']['one_draw']['mean']:.3f}"
    within = f"{figures['within'][1]:.0%}"
    return [preset, str(figures["seconds"]), bits, base, *map(ratio, ("draw", "estimate", "mean")), within]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--only", nargs="+", choices=PRESETS, default=PRESETS)
    parser.add_argument("--steps", type=int, default=11_000)
    parser.add_argument("--limit", type=int, default=200, help="number of held-out pictures (default: %(default)s)")
    arguments = parser.parse_args()
    for preset in arguments.only:
        figures = measure(preset, arguments)
        measured = earlier_results("restoration", "presets") | {preset: figures}
        presets = {name: measured[name] for name in PRESETS if name in measured}
        write_result("restoration", {"presets": presets})
    head = ["preset", "seconds", "bits/dim", "damaged", "draw", "T = 0", "mean of 16", "within 90 %"]
    write_table("restoration", head, [row(*item) for item in presets.items()], "restorers.md")


if __name__ == "__main__":
    main()
