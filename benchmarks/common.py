"""What every benchmark records: the machine, the versions and the commit; and where its table stands."""

import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "RESULTS",
    "describe_machine",
    "interleaved_medians",
    "plot_bars",
    "plot_curves",
    "plot_ratios",
    "write_result",
    "write_table",
]

# Set by `make bench`: trials this short are shown, and kept nowhere.
IS_SHORT = "GLOW_BENCH_SHORT" in os.environ
RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, threads, versions and commit."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "not measured on a GPU",
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def interleaved_medians(runs: Mapping[str, Callable[[], object]], repeats: int, warm: int = 2) -> dict[str, float]:
    """Return the median seconds of each run, taken in turns so that a slow moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + warm):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat >= warm:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def plot_curves(name: str, curves: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> None:
    """Draw curves of (x, y) as a picture of docs/."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    for one, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), marker="o", markersize=3, label=one)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, name)


def plot_bars(name: str, values: Mapping[str, float], across: str, start: float = 0.0) -> None:
    """Draw a bar a value as a picture of docs/, from ``start`` on."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.8 + 0.35 * len(values)))
    bars = axes.barh(list(values), [value - start for value in values.values()], left=start)
    axes.bar_label(bars, [f"{value:.4g}" for value in values.values()], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(across)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    _save(figure, name)


def plot_ratios(name: str, cases: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a group of bars a case as a picture of docs/."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for ratios in cases.values() for name in ratios))
    figure, axes = plt.subplots(figsize=(9, 0.35 + 0.17 * sum(len(ratios) + 1 for ratios in cases.values())))
    place, ticks = 0.0, []
    for ratios in cases.values():
        for one, ratio in ratios.items():
            axes.barh(place, ratio, color=f"C{names.index(one)}")
            axes.text(ratio, place, f" {ratio:.2f}  {one}", va="center", fontsize=7)
            place += 1
        ticks.append(place - (len(ratios) + 1) / 2)
        place += 1
    axes.set_yticks(ticks, [title.replace(": ", ":\n").replace("steps, ", "steps,\n") for title in cases], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("against the best peer, float32 (less is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.25, y=0.005)
    _save(figure, name)


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    folder = Path(tempfile.gettempdir()) if IS_SHORT else DOCS / "images"
    figure.savefig(folder / f"{name}.png", dpi=90)
    print(folder / f"{name}.png")


def write_result(name: str, result: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json`` with the machine beside the figures; of a short run elsewhere."""
    folder = Path(tempfile.gettempdir()) if IS_SHORT else RESULTS
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": describe_machine(), **result}, indent=2) + "\n")
    return path


def write_table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]], page: str = "priors.md") -> None:
    """Print a table and put it into a page of docs/, between the comments that hold its name."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    print(*lines, sep="\n")
    if IS_SHORT:
        return
    block = "\n".join([f"<!-- {name} -->", *lines, f"<!-- /{name} -->"])
    file = DOCS / page
    text = file.read_text(encoding="utf-8")
    text, count = re.subn(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _: block, text, flags=re.DOTALL)
    assert count == 1, f"{file} has {count} places for {name}"
    file.write_text(text, encoding="utf-8")
