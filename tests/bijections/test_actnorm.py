import pytest
import torch
from torch import Tensor

from glow_app.bijections import ActNorm


def batch(size: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.01, 1.0, 30.0])[:, None, None]
    return 5.0 + spread * torch.randn(size, 3, 4, 2, generator=generator)


def test_the_first_batch_leaves_normalised_and_the_formula_holds() -> None:
    actnorm, x = ActNorm(3), batch()
    z, log_det = actnorm.initialize(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(log_det, (8 * actnorm.norm.log_scale.sum()).expand(64))
    bias, log_scale = (p[:, None, None] for p in (actnorm.norm.bias, actnorm.norm.log_scale))
    torch.testing.assert_close(actnorm(x)[0], (x + bias) * log_scale.exp(), rtol=1e-5, atol=2e-3)


def test_it_runs_only_with_parameters_of_a_batch_or_a_state() -> None:
    actnorm, fresh = ActNorm(3), ActNorm(3)
    uninitialised = {name: value.clone() for name, value in actnorm.state_dict().items()}
    actnorm.initialize(batch())
    for direction in (fresh.forward, fresh.inverse, fresh.eval().forward):
        with pytest.raises(RuntimeError, match="not initialised"):
            direction(batch())
    fresh.load_state_dict(actnorm.state_dict())
    fresh.initialize(3 * batch())  # which changes nothing
    assert torch.equal(fresh(batch())[0], actnorm(batch())[0])
    torch.nn.Sequential(fresh).load_state_dict({f"0.{name}": value for name, value in uninitialised.items()})
    with pytest.raises(RuntimeError, match="not initialised"):
        fresh(batch())


def test_a_constant_channel_does_not_blow_up() -> None:
    x = batch()
    x[:, 1] = 0.7
    actnorm = ActNorm(3)
    z, log_det = actnorm.initialize(x)
    assert log_det.isfinite().all()
    assert z[:, 1].abs().max() < 1e-5
    assert actnorm(batch())[0][:, 1].abs().max() < 20


def test_a_large_offset_keeps_the_variance() -> None:
    x = 1e4 + torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    actnorm = ActNorm(1)
    actnorm.initialize(x)
    expected = x.double().std(correction=0).log().neg()
    torch.testing.assert_close(actnorm.norm.log_scale.double(), expected[None], rtol=0, atol=1e-4)
