"""Continuous flows against those of zuko: its solver on our network, and our solver on its network."""

from typing import Any

import pytest
import torch
from registry import perturb
from torch import Tensor

from glow_app.bijections import ContinuousFlow
from glow_app.nn import MLPVelocity, Velocity

zuko = pytest.importorskip("zuko")


class ZukoVelocity(Velocity):
    def __init__(self, ode: Any) -> None:
        super().__init__()
        self.ode = ode

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.ode.f(t, x, context)


def tight(velocity: Velocity) -> ContinuousFlow:
    return ContinuousFlow(velocity.double(), eval_atol=1e-9, eval_rtol=1e-9).eval()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(6, 2, generator=generator, dtype=torch.float64)


@torch.no_grad()
def assert_agree(flow: ContinuousFlow, theirs: Any, x: Tensor, context: Tensor) -> None:
    z, log_det = flow(x, context)
    expected_z, expected_log_det = theirs.call_and_ladj(x)
    assert (z - x).abs().max() > 0.1
    assert log_det.abs().max() > 0.1
    torch.testing.assert_close(z, expected_z, rtol=0, atol=1e-6)
    torch.testing.assert_close(log_det, expected_log_det, rtol=0, atol=1e-6)
    back, inverse_log_det = flow.inverse(x, context)
    expected_back, expected_inverse = theirs.inv.call_and_ladj(x)
    torch.testing.assert_close(back, expected_back, rtol=0, atol=1e-6)
    torch.testing.assert_close(inverse_log_det, expected_inverse, rtol=0, atol=1e-6)


def test_our_network_under_their_solver() -> None:
    torch.manual_seed(0)
    velocity = perturb(MLPVelocity(3, 16, context_features=2).double(), size=0.6)
    x, context = batch()
    theirs = zuko.transforms.FreeFormJacobianTransform(
        lambda t, x: velocity(t, x, context), atol=1e-9, rtol=1e-9, exact=True
    )
    assert_agree(tight(velocity), theirs, x, context)


def test_their_network_under_our_solver() -> None:
    torch.manual_seed(0)
    # Its default activation has a kink in its derivative, which a tight tolerance pays for.
    arguments: Any = {"hidden_features": (16, 16), "activation": torch.nn.Tanh}
    theirs = zuko.flows.continuous.FFJTransform(3, 2, atol=1e-9, rtol=1e-9, **arguments).double()
    x, context = batch()
    assert_agree(tight(ZukoVelocity(perturb(theirs, size=0.2))), theirs.eval()(context), x, context)
