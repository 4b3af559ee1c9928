"""Second derivatives, and transforms of torch.func."""

from functools import partial
from typing import get_args

import pytest
import torch
from registry import tiny_model
from torch import Tensor

from glow_app.bijections import Chain
from glow_app.flows import Level
from glow_app.models.image_model import ImageModel
from glow_app.running import Memory


@pytest.fixture(name="model")
def small_model() -> ImageModel:
    return tiny_model(image_shape=(1, 4, 4), num_levels=1, dtype=torch.float64)


def log_prob(model: ImageModel, y: Tensor) -> Tensor:
    return model.flow.log_prob(y.view(1, 1, 4, 4))[0]


@pytest.fixture(name="y")
def point() -> Tensor:
    return torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5


def plain_hessian(model: ImageModel, y: Tensor) -> Tensor:
    for level in model.flow.levels:
        assert isinstance(level, Level)
        level.runner = Chain.forward
    return torch.autograd.functional.hessian(partial(log_prob, model), y)


def test_the_fused_pass_refuses_second_derivatives(model: ImageModel, y: Tensor) -> None:
    model.set_runners("store")
    with pytest.raises(NotImplementedError, match=r"set_runners\('checkpoint'\)"):
        torch.autograd.functional.hessian(partial(log_prob, model), y)


def test_checkpoints_have_second_derivatives(model: ImageModel, y: Tensor) -> None:
    model.set_runners("checkpoint")
    hessian = torch.autograd.functional.hessian(partial(log_prob, model), y)
    assert hessian.abs().max() > 1
    torch.testing.assert_close(hessian, plain_hessian(model, y))


@pytest.mark.parametrize("memory", get_args(Memory))
def test_torch_func_works_in_each_memory_mode(model: ImageModel, y: Tensor, memory: Memory) -> None:
    model.set_runners(memory)
    hessian = torch.func.jacrev(torch.func.grad(partial(log_prob, model)))(y)
    tangent = torch.func.jacfwd(partial(log_prob, model))(y)
    batch = torch.stack([y, -y])
    each = torch.vmap(partial(log_prob, model))(batch)
    with torch.no_grad():
        torch.testing.assert_close(torch.vmap(partial(log_prob, model))(batch), each)
    torch.testing.assert_close(each, model.flow.log_prob(batch.view(2, 1, 4, 4)))
    torch.testing.assert_close(hessian, plain_hessian(model, y))
    torch.testing.assert_close(tangent, torch.autograd.functional.jacobian(partial(log_prob, model), y))
