"""Being here, this file also lets every folder of tests import ``registry``."""

import torch

# Tensors here are tiny: two threads only wait for each other, for minutes where other programs want the cores as well.
torch.set_num_threads(1)
