"""Being here, this file also lets every folder of tests import ``registry``."""

import pytest
import torch

# Tensors here are tiny: two threads only wait for each other, for minutes where other programs want the cores as well.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Give a test the same numbers whichever tests ran before it in its process."""
    torch.manual_seed(0)
