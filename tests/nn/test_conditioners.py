from collections.abc import Callable
from functools import partial

import pytest
import torch
from registry import perturb

from glow_app.nn import Conditioner, ConvConditioner, DataDependentAffine, GatedResidualConditioner

Factory = Callable[..., Conditioner]

conditioners = pytest.mark.parametrize(
    "factory",
    [
        ConvConditioner,
        GatedResidualConditioner,
        partial(GatedResidualConditioner, num_blocks=1),
        partial(GatedResidualConditioner, num_blocks=3),
    ],
)


def built(factory: Factory, context_features: int = 0) -> Conditioner:
    torch.manual_seed(0)
    conditioner = factory(3, 4, 8, context_features)
    context = torch.randn(16, context_features) if context_features else None
    conditioner.initialize(torch.randn(16, 3, 4, 6), context)
    return conditioner


@conditioners
@pytest.mark.parametrize("context_features", [0, 5])
def test_starts_at_zero(factory: Factory, context_features: int) -> None:
    conditioner = built(factory, context_features)
    context = torch.randn(2, context_features) if context_features else None
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(conditioner(x, context), torch.zeros(2, 4, 4, 6))


@conditioners
def test_initialises_every_layer_and_returns_what_forward_does(factory: Factory) -> None:
    torch.manual_seed(0)
    conditioner = perturb(factory(3, 4, 8, 0))
    norms = [module for module in conditioner.modules() if isinstance(module, DataDependentAffine)]
    assert norms
    assert not any(bool(norm.initialized) for norm in norms)
    x = torch.randn(16, 3, 4, 6)
    with pytest.raises(RuntimeError, match="not initialised"):
        conditioner(x)
    assert torch.equal(conditioner.initialize(x), conditioner(x))
    assert all(bool(norm.initialized) for norm in norms)


@conditioners
@pytest.mark.parametrize("context_features", [0, 5])
def test_the_activations_in_place_leave_the_inputs_alone(factory: Factory, context_features: int) -> None:
    conditioner = perturb(built(factory, context_features))
    x = torch.randn(2, 3, 4, 6)
    context = torch.randn(2, context_features) if context_features else None
    given = x.clone()
    given_context = None if context is None else context.clone()
    first = conditioner(given, given_context)
    assert torch.equal(given, x)
    assert context is None or torch.equal(given_context, context)  # type: ignore[arg-type]
    assert torch.equal(conditioner(given, given_context), first)
    conditioner.initialize(given, given_context)
    assert torch.equal(given, x)


@conditioners
def test_the_context_reaches_the_output(factory: Factory) -> None:
    conditioner = perturb(built(factory, 5))
    x = torch.randn(1, 3, 4, 6).expand(2, -1, -1, -1)
    first, second = conditioner(x, torch.randn(2, 5))
    assert not torch.allclose(first, second)


@conditioners
@pytest.mark.parametrize("context_features", [0, 5])
def test_runs_in_the_autocast_dtype(factory: Factory, context_features: int) -> None:
    conditioner = perturb(built(factory, context_features), size=0.05)
    x = torch.randn(2, 3, 4, 6)
    context = torch.randn(2, context_features) if context_features else None
    expected = conditioner(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = conditioner(x, context)
    assert expected.dtype == torch.float32
    assert narrow.dtype == torch.bfloat16
    assert (narrow - expected).norm() < 0.1 * expected.norm()


@conditioners
def test_every_parameter_learns(factory: Factory) -> None:
    conditioner = perturb(built(factory, 5))
    conditioner(torch.randn(2, 3, 4, 6), torch.randn(2, 5)).square().sum().backward()
    for name, parameter in conditioner.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@conditioners
def test_the_configuration_rebuilds_it(factory: Factory) -> None:
    conditioner = perturb(built(factory))
    again = type(conditioner)(3, 4, 8, 0, **conditioner.config)
    again.load_state_dict(conditioner.state_dict())
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(again(x), conditioner(x))


def test_no_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="num_blocks is 0"):
        GatedResidualConditioner(3, 4, 8, num_blocks=0)
