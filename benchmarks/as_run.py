"""A training step and samples as each is run: in a process of its own, `glow`'s with the settings that `glow` gives it.

    python benchmarks/as_run.py --checkout y0ast=FOLDER

`glow` begins anew with settings of the C library's allocator (`glow_app.commands.allocator`), which no process in
`benchmarks/speed.py` has. Here its processes have them, and the others have what a process has by itself; beside these,
this project without the settings and the others with them. All processes of a case take turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from typing import IO, Any, NamedTuple, cast

import torch
from common import describe_machine, write_result, write_table
from peers import OURS, Architecture, add_peer_arguments, peers
from speed import Run, sampling, training

from glow_app.commands.allocator import begin_with_huge_pages

REPEATS, WARM = 11, 3


class Case(NamedTuple):
    """What is run. This project's conditioners are in bfloat16 in training, all else is in float32."""

    what: str
    width: int
    size: int
    steps: int
    images: int
    threads: int

    @property
    def title(self) -> str:
        """In words."""
        size = f"{self.size}x{self.size}, 3x{self.steps} steps, {self.images} images, {self.threads} threads"
        return f"{self.what}: width {self.width}, {size}"


CASES = [
    Case("training step", 512, 32, 4, 16, 2),
    Case("training step", 128, 32, 8, 16, 2),
    Case("training step", 128, 32, 8, 16, 1),
    Case("sampling", 512, 32, 8, 64, 2),
    Case("sampling", 512, 64, 8, 1, 2),
    Case("sampling", 128, 32, 8, 64, 2),
    Case("sampling", 128, 64, 8, 1, 2),
]

# Columns of the table: this project as `glow` runs it, and what it is compared with.
GLOW, COMPILED, UNTUNED, OTHERS_TUNED = "`glow`", "`glow`, compiled", f"{OURS}, untuned", "fastest other, tuned"


def child(case: Case, name: str, arguments: argparse.Namespace) -> None:
    """Run the case for each line that comes, with the clock the second time: the caches were the other processes'."""
    if arguments.tuned:
        begin_with_huge_pages()
    torch.set_num_threads(case.threads)
    run = prepare(case, name, arguments)
    for _ in range(WARM):
        run()
    print("ready", flush=True)
    for _ in sys.stdin:
        run()
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


def prepare(case: Case, name: str, arguments: argparse.Namespace) -> Run:
    """Return what the case runs."""
    build, a = peers(arguments)[name], Architecture(case.size, 3, case.steps, case.width)
    if case.what == "sampling":
        return sampling(build, a, case.images)
    return training(build, a, case.images, narrow=name == OURS, compiled=arguments.compiled)


def begin(case: int, name: str, arguments: argparse.Namespace, *options: str) -> subprocess.Popen[str]:
    """Return such a process."""
    checkouts = ["--checkout", *arguments.checkout]
    command = [sys.executable, "-W", "ignore", __file__, "--child", str(case), name, *options, *checkouts]
    environment = {key: value for key, value in os.environ.items() if key not in ("GLIBC_TUNABLES", "GOMP_SPINCOUNT")}
    if "--tuned" in options:
        environment["GOMP_SPINCOUNT"] = "5000"  # as `glow` has it
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
    assert cast("IO[str]", process.stdout).readline() == "ready\n"
    return process


def seconds(process: subprocess.Popen[str]) -> float:
    """Return how long one run takes."""
    print(file=process.stdin, flush=True)
    return float(cast("IO[str]", process.stdout).readline())


def measure(case: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the median seconds of each."""
    processes = {GLOW: begin(case, OURS, arguments, "--tuned")}
    if CASES[case].what != "sampling":
        processes[COMPILED] = begin(case, OURS, arguments, "--tuned", "--compiled")
    processes[UNTUNED] = begin(case, OURS, arguments)
    for name in _others(arguments):
        processes[name] = begin(case, name, arguments)
        processes[_tuned(name)] = begin(case, name, arguments, "--tuned")
    times = [[seconds(process) for process in processes.values()] for _ in range(REPEATS)]
    for process in processes.values():
        process.communicate()
    return dict(zip(processes, map(statistics.median, zip(*times, strict=True)), strict=True))


def row(title: str, found: dict[str, float], others: list[str]) -> list[str]:
    """Return the line of the table: ratios to the fastest of the others as it is run."""
    fastest = min(found[name] for name in others)
    columns = found | {OTHERS_TUNED: min(found[_tuned(name)] for name in others)}
    ratios = {name: f"{value / fastest:.2f}" for name, value in columns.items()}
    return [title, *(ratios.get(name, "") for name in (GLOW, COMPILED, UNTUNED, *others, OTHERS_TUNED))]


def compare(arguments: argparse.Namespace) -> None:
    """Measure all cases, and write results and table."""
    others = _others(arguments)
    results: list[dict[str, Any]] = []
    for number, case in enumerate(CASES):
        found = measure(number, arguments)
        results.append({"title": case.title, "seconds": found})
        print(*row(case.title, found, others), f"{1e3 * found[GLOW]:.1f} ms", sep=" | ", flush=True)
    print(describe_machine())
    write_result(arguments.name, {"results": results})
    header = ["", GLOW, COMPILED, UNTUNED, *others, OTHERS_TUNED]
    write_table(arguments.name, header, [row(one["title"], one["seconds"], others) for one in results], "speed.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peer_arguments(parser)
    parser.add_argument("--name", default="as_run", help="of the results and the table")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--tuned", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compiled", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        number, name = arguments.child
        child(CASES[int(number)], name, arguments)
    else:
        compare(arguments)


def _others(arguments: argparse.Namespace) -> list[str]:
    return [name for name in peers(arguments) if name != OURS]


def _tuned(name: str) -> str:
    return f"{name}, tuned"


if __name__ == "__main__":
    main()
