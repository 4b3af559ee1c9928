import copy

import pytest
import torch

from glow_app.nn import DataDependentAffine


def test_any_number_of_trailing_dimensions() -> None:
    for shape in ((50, 3), (50, 3, 2), (10, 3, 2, 2)):
        x = 4 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
        affine = DataDependentAffine(3)
        affine.initialize_parameters(x)
        values = x.transpose(0, 1).reshape(3, -1)
        torch.testing.assert_close(affine.bias.data, -values.mean(1))
        torch.testing.assert_close(affine.log_scale.data, -values.std(1, correction=0).log())


def test_a_copy_is_initialised_as_the_original_is() -> None:
    affine = DataDependentAffine(3)
    unused = copy.deepcopy(affine)
    affine.initialize_parameters(torch.randn(10, 3))
    affine.require_initialized()
    copy.deepcopy(affine).require_initialized()
    with pytest.raises(RuntimeError, match="not initialised"):
        unused.require_initialized()


def test_initialising_leaves_no_graph() -> None:
    affine = DataDependentAffine(3)
    affine.initialize_parameters(torch.randn(10, 3, requires_grad=True))
    assert affine.bias.grad_fn is None
    assert affine.bias.requires_grad
