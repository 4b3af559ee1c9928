import pytest
import torch
from registry import perturb
from torch import Tensor

from glow_app.nn import ConvConditioner, DataDependentAffine

contexts = pytest.mark.parametrize("context_features", [0, 5])


def inputs(num: int, context_features: int) -> tuple[Tensor, Tensor | None]:
    return torch.randn(num, 3, 4, 6), torch.randn(num, context_features) if context_features else None


@contexts
def test_starts_at_zero_and_initialises_every_layer(context_features: int) -> None:
    conditioner, given = ConvConditioner(3, 4, 8, context_features), inputs(16, context_features)
    with pytest.raises(RuntimeError, match="not initialised"):
        conditioner(*given)
    assert torch.equal(conditioner.initialize(*given), torch.zeros(16, 4, 4, 6))
    norms = [module for module in conditioner.modules() if isinstance(module, DataDependentAffine)]
    assert all(bool(norm.initialized) for norm in norms)
    conditioner, x = perturb(ConvConditioner(3, 4, 8, context_features)), given[0].clone()
    assert torch.equal(conditioner.initialize(*given), conditioner(*given))
    assert torch.equal(given[0], x)


@contexts
def test_runs_in_the_autocast_dtype(context_features: int) -> None:
    conditioner = ConvConditioner(3, 4, 8, context_features)
    conditioner.initialize(*inputs(16, context_features))
    perturb(conditioner, size=0.05)
    x, context = inputs(2, context_features)
    expected = conditioner(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = conditioner(x, context)
    assert narrow.dtype == torch.bfloat16
    assert (narrow - expected).norm() < 0.1 * expected.norm()
