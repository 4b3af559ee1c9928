from collections.abc import Callable

import pytest
import torch
from registry import OtherConditioner, perturb
from torch import Tensor

from glow_app.nn import Conditioner, ConvConditioner, DataDependentAffine

Factory = Callable[..., Conditioner]

conditioners = pytest.mark.parametrize("factory", [ConvConditioner, OtherConditioner])
contexts = pytest.mark.parametrize("context_features", [0, 5])


def inputs(num: int, context_features: int) -> tuple[Tensor, Tensor | None]:
    return torch.randn(num, 3, 4, 6), torch.randn(num, context_features) if context_features else None


def built(factory: Factory, context_features: int = 0) -> Conditioner:
    conditioner = factory(3, 4, 8, context_features)
    conditioner.initialize(*inputs(16, context_features))
    return conditioner


@conditioners
@contexts
def test_starts_at_zero(factory: Factory, context_features: int) -> None:
    assert torch.equal(built(factory, context_features)(*inputs(2, context_features)), torch.zeros(2, 4, 4, 6))


@conditioners
def test_initialises_every_layer_and_returns_what_forward_does(factory: Factory) -> None:
    conditioner = perturb(factory(3, 4, 8, 0))
    x, _ = inputs(16, 0)
    given = x.clone()
    with pytest.raises(RuntimeError, match="not initialised"):
        conditioner(x)
    assert torch.equal(conditioner.initialize(given), conditioner(given))
    assert torch.equal(given, x)
    norms = [module for module in conditioner.modules() if isinstance(module, DataDependentAffine)]
    assert all(bool(norm.initialized) for norm in norms)


@conditioners
@contexts
def test_runs_in_the_autocast_dtype(factory: Factory, context_features: int) -> None:
    conditioner = perturb(built(factory, context_features), size=0.05)
    x, context = inputs(2, context_features)
    expected = conditioner(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = conditioner(x, context)
    assert narrow.dtype == torch.bfloat16
    assert (narrow - expected).norm() < 0.1 * expected.norm()
