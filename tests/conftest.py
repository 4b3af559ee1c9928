"""Being here, this file also lets every folder of tests import ``registry``."""

import signal

import pytest
import torch

# A shell starts background jobs with Ctrl-C ignored, and nohup ignores SIGHUP; processes of tests would inherit both.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Tensors here are tiny: two threads only wait for each other, for minutes where other programs want the cores as well.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Give a test the same numbers whichever tests ran before it in its process."""
    torch.manual_seed(0)
