"""The command that measures a GPU runs, on a CPU and with tiny models, before there is a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_part_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), "--device", "cpu", "--short"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOW_BENCH_SHORT": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if ": " in line]
    results = dict(zip([line.partition(":")[0] for line in lines[::2]], map(json.loads, lines[1::2]), strict=True))
    assert results["correctness"]["failed"] == []
    assert " passed" in results["correctness"]["summary"]
    assert results["processes"]["difference"] < 1e-10
    assert results["memory"]["reversible"] < results["memory"]["store"]
    (curve,) = (one["curve"] for one in results["curve"].values())
    assert curve[-1][1] < curve[0][1]
    assert len(results) == 9
