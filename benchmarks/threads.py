"""A training step on one thread and on as many as there are cores, alone and beside other work.

    python benchmarks/threads.py

The other work is a process that keeps one core busy. Threads wait for each other as under `glow`.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # before torch is loaded, as `glow` does

import torch
from common import describe_machine, interleaved_medians, write_result, write_table
from peers import Architecture, Ours
from speed import training

# Architecture, batch and whether conditioners are in bfloat16.
MODELS = {
    "8x8 grey, width 32": (Architecture(8, 2, 12, 32, 1), 64, False),
    "28x28 grey, width 32": (Architecture(28, 2, [12, 8], 32, 1), 64, False),
    "32x32 colour, width 128, bfloat16": (Architecture(32, 3, 8, 128), 16, True),
    "32x32 colour, width 512": (Architecture(32, 3, 4, 512), 16, False),
}


@contextmanager
def other_work(is_there: bool) -> Iterator[None]:
    """Have it beside, or not."""
    if not is_there:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    many = torch.get_num_threads()
    cases = {
        f"{threads} thread{'' if threads == 1 else 's'}, {beside}": (threads, beside == "other work")
        for beside in ("alone", "other work")
        for threads in (1, many)
    }
    found: dict[str, dict[str, float]] = {}
    for name, (architecture, batch_size, narrow) in MODELS.items():
        run = training(Ours, architecture, batch_size, narrow)
        found[name] = {}
        for case, (threads, is_busy) in cases.items():
            torch.set_num_threads(threads)
            with other_work(is_busy):
                found[name] |= interleaved_medians({case: run}, repeats, warm=3)
    print(describe_machine())
    write_result("threads", {"seconds": found})
    rows = [[name, *(f"{1e3 * one[case]:.0f} ms" for case in cases)] for name, one in found.items()]
    write_table("threads", ["", *cases], rows, page="training.md")


if __name__ == "__main__":
    main()
