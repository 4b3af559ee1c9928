"""Scripts of tests in a process of their own, which fork others: importing takes longer than training."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script of this folder to its end, without an error."""
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def fork(function: Callable[..., Any], *arguments: Any) -> int:
    """Call a function in a forked process, and return its number."""
    process = os.fork()
    if process == 0:
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return process
