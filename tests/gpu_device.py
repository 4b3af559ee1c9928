"""The device of tests with the marker ``gpu``: the GPU; without one, they are skipped.

``GLOW_GPU_TESTS_ON=cpu`` runs them on the CPU, to check the tests themselves without a GPU.
"""

import os

import pytest
import torch

__all__ = ["DEVICE", "IS_CUDA", "on_gpu"]

DEVICE = torch.device(os.environ.get("GLOW_GPU_TESTS_ON", "cuda"))
IS_CUDA = DEVICE.type == "cuda"
on_gpu = [pytest.mark.gpu, pytest.mark.skipif(IS_CUDA and not torch.cuda.is_available(), reason="there is no GPU")]
