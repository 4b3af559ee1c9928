"""Settings of all tests. Because of this file, pytest also lets every folder of tests import ``registry``."""

import io
import signal
from collections.abc import Iterator

import pytest
import torch
from PIL import Image

from glow_app.evaluation import report

# Background jobs of a shell ignore Ctrl-C, and nohup ignores SIGHUP; processes started by tests would inherit both.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# The tensors are tiny, so more threads only wait for each other, for minutes if other programs use the cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the images of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def quick_curves() -> Iterator[None]:
    """Leave out the plot of reports, which takes longer than these runs; tests/evaluation/test_report.py draws it."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_plot", lambda _: buffer.getvalue())
        yield


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Give a test the same random numbers whichever tests ran before it in its process."""
    torch.manual_seed(0)
