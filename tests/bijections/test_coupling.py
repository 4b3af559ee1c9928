import math

import pytest
import torch
from registry import perturb
from torch import Tensor, nn

from glow_app.bijections import AdditiveCoupling, AffineCoupling, Coupling
from glow_app.nn import Conditioner, ConvConditioner


class GivenParameters(Conditioner):
    """A conditioner whose output is its parameters, for every image."""

    def __init__(self, parameters: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(parameters)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.values.expand(x.shape[0], -1, -1, -1)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self(x, context)


def with_raw_scale(raw: Tensor) -> AffineCoupling:
    values = torch.stack([torch.zeros_like(raw), raw])[None, :, None, :]
    return AffineCoupling(2, GivenParameters(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_scale_is_bounded_with_finite_gradients(dtype: torch.dtype) -> None:
    raw = torch.tensor([-1e4, -100.0, -30.0, 0.0, 30.0, 100.0, 1e4], dtype=dtype)
    coupling = with_raw_scale(raw)
    x = torch.ones(1, 2, 1, 7, dtype=dtype)
    z, log_det = coupling(x)
    scale = z[0, 1, 0]
    # The log-scale is a difference of two numbers as large as the raw scale.
    rounding = 4 * torch.finfo(dtype).eps * raw.abs().clamp(min=1)
    assert (scale >= 0.1 * (1 - rounding)).all()
    assert (scale <= 1).all()
    assert (scale.diff() >= -rounding[1:] - rounding[:-1]).all(), "it grows with the raw scale"
    (z.sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in coupling.parameters())
    torch.testing.assert_close(coupling.inverse(z)[0], x)


def test_the_log_scale_agrees_with_its_formula() -> None:
    raw = torch.linspace(-20, 15, 71, dtype=torch.float64)
    log_scale = with_raw_scale(raw)(torch.ones(1, 2, 1, 71, dtype=torch.float64))[0][0, 1, 0].log()
    expected = torch.log(0.1 + 0.9 * torch.sigmoid(raw + 2))
    torch.testing.assert_close(log_scale, expected, rtol=0, atol=1e-12)


def test_no_digits_are_lost_at_the_upper_end_in_float32() -> None:
    raw = torch.tensor([12.0, 14.0, 16.0])
    log_det = with_raw_scale(raw)(torch.ones(1, 2, 1, 3))[1]
    exact = torch.log1p(-0.9 * torch.sigmoid(-(raw.double() + 2))).sum()
    torch.testing.assert_close(log_det[0].double(), exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("kind", "scale"), [(AffineCoupling, 0.1 + 0.9 / (1 + math.exp(-2))), (AdditiveCoupling, 1.0)])
def test_starts_as_the_identity_up_to_a_constant_and_passes_the_first_half(kind: type[Coupling], scale: float) -> None:
    coupling = kind(4, ConvConditioner(2, 2 * kind.outputs_per_channel, 8))
    x = torch.randn(5, 4, 3, 2)
    z, log_det = coupling.initialize(x)
    assert torch.equal(z[:, :2], x[:, :2])
    torch.testing.assert_close(z[:, 2:], x[:, 2:] * scale)
    torch.testing.assert_close(log_det, torch.full((5,), 12 * math.log(scale)))
    perturb(coupling)
    for z, log_det in (coupling(x), coupling.inverse(x)):
        assert torch.equal(z[:, :2], x[:, :2])
        assert not torch.allclose(z, x)
        assert kind is AffineCoupling or torch.equal(log_det, torch.zeros(5))


@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (1, 4, 1, 1)])
def test_outputs_of_a_conditioner_that_would_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    coupling = AffineCoupling(4, GivenParameters(torch.ones(shape)))
    with pytest.raises(ValueError, match="GivenParameters returned shape"):
        coupling(torch.randn(3, 4, 2, 2))


def test_arguments_that_make_no_coupling_are_refused() -> None:
    network = ConvConditioner(2, 4, 4)
    for channels, max_input in ((1, None), (4, 0.0)):
        with pytest.raises(ValueError, match=r"at least 2 channels|max_input"):
            AffineCoupling(channels, network, max_input)
    with pytest.raises(TypeError, match="expected a subclass of Conditioner"):
        AffineCoupling(4, nn.Conv2d(2, 4, 1))  # type: ignore[arg-type]
