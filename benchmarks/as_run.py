"""What huge pages, and memory that is kept, take off a training step and off samples: `glow` with and without.

    python benchmarks/allocator.py

Two processes, one with the settings of `glow_app.allocator` and one with the C library's own, take turns.
"""

import os
import statistics
import subprocess
import sys
from typing import IO, Any, cast

from common import describe_machine, write_result, write_table

# (what, width, steps a level, images, threads, whether conditioners are narrow)
CASES = [
    ("training", 512, 4, 16, 2, False),
    ("training", 128, 8, 16, 2, True),
    ("training", 32, 8, 32, 1, True),
    ("sampling", 512, 8, 64, 2, False),
    ("sampling", 128, 8, 64, 2, False),
]
REPEATS = 15
CHILD = """
import sys, time, torch
from glow_app.allocator import begin_with_huge_pages
if sys.argv[1] == "True":
    begin_with_huge_pages()
sys.path.insert(0, sys.argv[2])
from peers import Architecture, Ours
from speed import sampling, training
what, width, steps, images, threads, narrow = sys.argv[3:]
torch.set_num_threads(int(threads))
a = Architecture(32, 3, int(steps), int(width))
run = sampling(Ours, a, int(images)) if what == "sampling" else training(Ours, a, int(images), narrow == "True")
for _ in range(3):
    run()
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    run()
    print(time.perf_counter() - start, flush=True)
"""


def begin(tuned: bool, case: tuple[object, ...]) -> subprocess.Popen[str]:
    """Return a process that runs the case once for each line that it is given."""
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", CHILD, str(tuned), os.path.dirname(__file__), *map(str, case)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env={"GOMP_SPINCOUNT": "5000", **environment}
    )
    assert cast("IO[str]", process.stdout).readline() == "ready\n"
    return process


def seconds(process: subprocess.Popen[str]) -> float:
    """Return how long one run takes."""
    print(file=process.stdin, flush=True)
    return float(cast("IO[str]", process.stdout).readline())


def main() -> None:
    results: list[dict[str, Any]] = []
    for case in CASES:
        processes = [begin(tuned, case) for tuned in (False, True)]
        times = [[seconds(process) for process in processes] for _ in range(REPEATS)]
        for process in processes:
            process.communicate()
        plain, tuned = (statistics.median(column) for column in zip(*times, strict=True))
        what, width, steps, images, threads, narrow = case
        title = (
            f"{what}: width {width}{', bf16' if narrow else ''}, 3x{steps} steps, {images} images, {threads} threads"
        )
        results.append({"title": title, "default": plain, "tuned": tuned})
        print(*_row(title, plain, tuned), sep=", ", flush=True)
    print(describe_machine())
    write_result("allocator", {"results": results})
    header = ["32x32", "the C library's settings", "those of `glow`", "ratio"]
    write_table("allocator", header, [_row(one["title"], one["default"], one["tuned"]) for one in results], "speed.md")


def _row(title: str, plain: float, tuned: float) -> list[str]:
    return [title, f"{1e3 * plain:.0f} ms", f"{1e3 * tuned:.0f} ms", f"{tuned / plain:.2f}"]


if __name__ == "__main__":
    main()
