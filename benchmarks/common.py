"""What every benchmark records: the machine, the versions and the commit; and where its table stands."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_machine", "write_result", "write_table"]

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


def write_result(name: str, result: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json`` with the machine beside the figures."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe_machine(), **result}, indent=2) + "\n")
    return path


def write_table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]], page: str = "priors.md") -> None:
    """Put a table into a page of docs/, between the comments that hold its name."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    block = "\n".join([f"<!-- {name} -->", *lines, f"<!-- /{name} -->"])
    file = DOCS / page
    text = file.read_text(encoding="utf-8")
    text, count = re.subn(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _: block, text, flags=re.DOTALL)
    assert count == 1, f"{file} has {count} places for {name}"
    file.write_text(text, encoding="utf-8")
