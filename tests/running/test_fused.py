"""The fused training pass of a level is that of its bijections."""

import shutil
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from registry import OtherConditioner, perturb, tiny_context, tiny_glow
from torch import Tensor

from glow_app.bijections import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    Chain,
    InvertibleConv1x1,
    PixelwiseChain,
    Squeeze,
)
from glow_app.flows import Level
from glow_app.nn import ConvConditioner
from glow_app.restoration import Fill, PictureConditioning
from glow_app.running import choose_runners, fused


class Backwards(AffineCoupling):
    """A coupling that is more than the one that it is made of."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the inverse."""
        return super().inverse(x, context)


def step(
    features: int = 0,
    coupling: Callable[..., Bijection] = AffineCoupling,
    network: type = ConvConditioner,
    width: int = 6,
) -> Chain:
    outputs = 4 if coupling is AdditiveCoupling else 8
    mixing = PixelwiseChain(ActNorm(8), InvertibleConv1x1(8))
    return Chain(mixing, coupling(8, network(4, outputs, width, features)))


def built(*steps: Bijection, dtype: torch.dtype = torch.float64) -> tuple[Level, Tensor, Tensor]:
    torch.manual_seed(0)
    chain = Level(Squeeze(), *steps)
    x, context = torch.randn(3, 2, 6, 4), torch.randn(3, 5)
    chain.initialize(x, context)
    perturb(chain, seed=1, size=0.03)
    choose_runners(chain)
    return chain.to(dtype), x.to(dtype), context.to(dtype)


def found(run: Callable[..., tuple[Tensor, Tensor]], chain: Level, x: Tensor, context: Tensor) -> list[Tensor]:
    """Return outputs and all gradients of a function of them."""
    inputs = [x.clone().requires_grad_(), context.clone().requires_grad_()]
    z, log_det = run(*inputs)
    weights = torch.linspace(-1, 1, z.numel(), dtype=z.dtype).view(z.shape)
    loss = (z * weights).sum() + z.square().sum() / 3 + (log_det * torch.tensor([1.0, -0.5, 2.0])).sum()
    gradients = torch.autograd.grad(loss, [*inputs, *chain.parameters()], materialize_grads=True, allow_unused=True)
    return [z, log_det, *gradients]


@pytest.mark.parametrize("features", [0, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_values_and_gradients_are_those_of_the_bijections(features: int, dtype: torch.dtype, tolerance: float) -> None:
    chain, x, context = built(step(features), step(features), step(), dtype=dtype)
    with patch.object(fused.FusedStep, "apply", wraps=fused.FusedStep.apply) as used:
        one = found(chain, chain, x, context)
    assert used.call_count == 3
    other = found(lambda *inputs: Chain.forward(chain, *inputs), chain, x, context)
    for tensor, expected in zip(one, other, strict=True):
        assert float((tensor - expected).norm()) <= tolerance * float(expected.norm())


def test_under_autocast_only_conditioners_are_narrow() -> None:
    chain, x, context = built(step(5), step(5), dtype=torch.float32)
    exact, _ = chain(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        narrow, log_det = chain(x, context)
        plain, _ = Chain.forward(chain, x, context)
    assert narrow.dtype == log_det.dtype == torch.float32
    assert 1e-4 < float((narrow - exact).norm() / exact.norm()) < 2e-2
    assert float((narrow - plain).norm()) < 0.7 * float((narrow - exact).norm())
    (narrow.sum() + log_det.sum()).backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in chain.parameters())  # type: ignore[union-attr]


def test_steps_of_a_level_with_a_feature_map_are_fused() -> None:
    conditioning = PictureConditioning(Fill())
    flow = tiny_glow(num_steps=3, conditioning=conditioning, perturbation=0.03, dtype=torch.float64)
    choose_runners(flow)
    x, context = torch.randn(2, 3, 8, 8, dtype=torch.float64), tiny_context(flow, 2)
    with patch.object(fused.FusedStep, "apply", wraps=fused.FusedStep.apply) as used:
        log_prob = flow.log_prob(x, context)
    assert used.call_count == 6
    with torch.no_grad():
        torch.testing.assert_close(log_prob, flow.log_prob(x, context))


@pytest.mark.parametrize(
    "other",
    [
        lambda: step(coupling=AdditiveCoupling),
        lambda: step(network=OtherConditioner),
        lambda: Chain(ActNorm(8), AffineCoupling(8, ConvConditioner(4, 8, 6))),
        lambda: step(coupling=Backwards),
        lambda: ActNorm(8),
    ],
    ids=["additive", "other conditioner", "no convolution", "changed coupling", "no step"],
)
def test_other_steps_run_as_they_are(other: Callable[[], Bijection]) -> None:
    chain, x, context = built(other(), other())
    with patch.object(fused.FusedStep, "apply", wraps=fused.FusedStep.apply) as used:
        one = found(chain, chain, x, context)
    assert used.call_count == 0
    other_way = found(lambda *inputs: Chain.forward(chain, *inputs), chain, x, context)
    assert all(torch.equal(tensor, expected) for tensor, expected in zip(one, other_way, strict=True))


def test_steps_of_one_width_are_fused_wherever_they_are() -> None:
    for others, num_fused in (([step(width=7)], 0), ([ActNorm(8), step()], 2)):
        chain, x, context = built(step(), *others)
        with patch.object(fused.FusedStep, "apply", wraps=fused.FusedStep.apply) as used:
            one = found(chain, chain, x, context)
        assert used.call_count == num_fused
        other = found(lambda *inputs, chain=chain: Chain.forward(chain, *inputs), chain, x, context)
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_compiled_steps_are_the_same() -> None:
    chain, x, context = built(step(5), dtype=torch.float32)
    expected = found(chain, chain, x, context)
    choose_runners(chain, compiled=True)
    for tensor, other in zip(found(chain, chain, x, context), expected, strict=True):
        assert float((tensor - other).norm()) <= 1e-4 * float(other.norm())
