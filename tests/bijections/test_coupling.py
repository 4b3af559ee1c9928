import math

import pytest
import torch
from registry import perturb
from torch import Tensor, nn

from glow_app.bijections import AdditiveCoupling, AffineCoupling
from glow_app.nn import Conditioner, ConvConditioner, GatedResidualConditioner


class GivenParameters(Conditioner):
    """A conditioner that says what it was told, to every image."""

    def __init__(self, parameters: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(parameters)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.values.expand(x.shape[0], -1, -1, -1)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self(x, context)


def with_raw_scale(raw: Tensor, min_scale: float = 0.1) -> AffineCoupling:
    values = torch.stack([torch.zeros_like(raw), raw])[None, :, None, :]
    return AffineCoupling(2, GivenParameters(values), min_scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("min_scale", [0.01, 0.1, 0.5])
def test_the_scale_is_bounded_with_finite_gradients(dtype: torch.dtype, min_scale: float) -> None:
    raw = torch.tensor([-1e4, -100.0, -30.0, 0.0, 30.0, 100.0, 1e4], dtype=dtype)
    coupling = with_raw_scale(raw, min_scale)
    x = torch.ones(1, 2, 1, 7, dtype=dtype)
    z, log_det = coupling(x)
    scale = z[0, 1, 0]
    # The log-scale is a difference of two numbers as large as the raw scale.
    rounding = 4 * torch.finfo(dtype).eps * raw.abs().clamp(min=1)
    assert (scale >= min_scale * (1 - rounding)).all()
    assert (scale <= 1).all()
    assert (scale.diff() >= -rounding[1:] - rounding[:-1]).all(), "it grows with the raw scale"
    (z.sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in coupling.parameters())
    back, _ = coupling.inverse(z)
    torch.testing.assert_close(back, x)


def test_the_log_scale_agrees_with_its_formula() -> None:
    raw = torch.linspace(-20, 15, 71, dtype=torch.float64)
    for epsilon in (0.01, 0.1, 0.7):
        coupling = with_raw_scale(raw, epsilon)
        log_scale = coupling(torch.ones(1, 2, 1, 71, dtype=torch.float64))[0][0, 1, 0].log()
        expected = torch.log(epsilon + (1 - epsilon) * torch.sigmoid(raw + 2))
        torch.testing.assert_close(log_scale, expected, rtol=0, atol=1e-12)


def test_no_digits_are_lost_at_the_upper_end_in_float32() -> None:
    raw = torch.tensor([12.0, 14.0, 16.0])
    coupling = with_raw_scale(raw)
    log_det = coupling(torch.ones(1, 2, 1, 3))[1]
    exact = torch.log1p(-0.9 * torch.sigmoid(-(raw.double() + 2))).sum()
    torch.testing.assert_close(log_det[0].double(), exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("conditioner", [ConvConditioner, GatedResidualConditioner])
def test_affine_starts_as_the_identity_up_to_a_constant(conditioner: type[ConvConditioner]) -> None:
    torch.manual_seed(0)
    coupling = AffineCoupling(4, conditioner(2, 4, 8))
    x = torch.randn(5, 4, 3, 2)
    z, log_det = coupling.initialize(x)
    scale = 0.1 + 0.9 / (1 + math.exp(-2))
    assert torch.equal(z[:, :2], x[:, :2])
    torch.testing.assert_close(z[:, 2:], x[:, 2:] * scale)
    torch.testing.assert_close(log_det, torch.full((5,), 12 * math.log(scale)))


@pytest.mark.parametrize("conditioner", [ConvConditioner, GatedResidualConditioner])
def test_additive_starts_as_the_identity_and_keeps_the_volume(conditioner: type[ConvConditioner]) -> None:
    torch.manual_seed(0)
    coupling = AdditiveCoupling(4, conditioner(2, 2, 8))
    x = torch.randn(5, 4, 3, 2)
    assert torch.equal(coupling.initialize(x)[0], x)
    perturb(coupling)
    for z, log_det in (coupling(x), coupling.inverse(x)):
        assert not torch.allclose(z, x)
        assert torch.equal(log_det, torch.zeros(5))


def test_the_first_half_passes_bit_for_bit() -> None:
    torch.manual_seed(0)
    coupling = AffineCoupling(4, ConvConditioner(2, 4, 8))
    coupling.initialize(torch.randn(5, 4, 2, 2))
    perturb(coupling)
    x = torch.randn(5, 4, 2, 2)
    assert torch.equal(coupling(x)[0][:, :2], x[:, :2])
    assert torch.equal(coupling.inverse(x)[0][:, :2], x[:, :2])


@pytest.mark.parametrize("coupling", [AffineCoupling, AdditiveCoupling])
@pytest.mark.parametrize("num_channels", [0, 1, 3])
def test_odd_channels_are_refused(coupling: type[AffineCoupling], num_channels: int) -> None:
    with pytest.raises(ValueError, match=f"even number of channels.*{num_channels}"):
        coupling(num_channels, ConvConditioner(1, 2, 4))


@pytest.mark.parametrize("min_scale", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_a_bad_bound_is_refused(min_scale: float) -> None:
    with pytest.raises(ValueError, match="min_scale"):
        AffineCoupling(4, ConvConditioner(2, 4, 4), min_scale)


@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (1, 4, 1, 1)])
def test_outputs_of_a_conditioner_that_would_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    coupling = AffineCoupling(4, GivenParameters(torch.ones(shape)))
    with pytest.raises(ValueError, match=r"GivenParameters gave shape .*; AffineCoupling expects \(3, 4, 2, 2\)"):
        coupling(torch.randn(3, 4, 2, 2))


def test_a_network_without_the_contract_is_refused() -> None:
    with pytest.raises(TypeError, match="conditioner is a Conv2d; expected a subclass of Conditioner"):
        AffineCoupling(4, nn.Conv2d(2, 4, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("max_input", [0.0, -1.0, math.nan])
def test_a_bad_bound_of_the_input_is_refused(max_input: float) -> None:
    with pytest.raises(ValueError, match="max_input"):
        AffineCoupling(4, ConvConditioner(2, 4, 4), max_input=max_input)
