from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glow_app.bijections import ActNorm


def batch(size: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.01, 1.0, 30.0])[:, None, None]
    return 5.0 + spread * torch.randn(size, 3, 4, 2, generator=generator)


def test_the_first_batch_leaves_normalised() -> None:
    actnorm = ActNorm(3)
    z, log_det = actnorm.initialize(batch())
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(3), rtol=0, atol=1e-4)
    assert bool(actnorm.initialized)
    assert actnorm.initialized.dtype == torch.bool
    torch.testing.assert_close(log_det, (8 * actnorm.norm.log_scale.sum()).expand(64))


def test_the_formula() -> None:
    actnorm = ActNorm(3)
    actnorm.initialize(batch())
    bias, log_scale = (p[:, None, None] for p in (actnorm.norm.bias, actnorm.norm.log_scale))
    x = batch(2)
    torch.testing.assert_close(actnorm(x)[0], (x + bias) * log_scale.exp(), rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_use_before_initialisation_is_an_error(training: bool, direction: str) -> None:
    actnorm = ActNorm(3).train(training)
    with pytest.raises(RuntimeError, match="not initialised"):
        getattr(actnorm, direction)(batch())


def test_loading_a_state_marks_as_initialised() -> None:
    actnorm, fresh = ActNorm(3), ActNorm(3)
    actnorm.initialize(batch())
    fresh.load_state_dict(actnorm.state_dict())
    assert torch.equal(fresh(batch())[0], actnorm(batch())[0])
    fresh.initialize(3 * batch())
    assert torch.equal(fresh(batch())[0], actnorm(batch())[0])


@pytest.mark.parametrize("wrap", [lambda module: module, lambda module: torch.nn.Sequential(module)])
def test_loading_an_uninitialised_state_makes_it_an_error_again(
    wrap: Callable[[torch.nn.Module], torch.nn.Module],
) -> None:
    actnorm = ActNorm(3)
    uninitialised = {name: value.clone() for name, value in wrap(actnorm).state_dict().items()}
    actnorm.initialize(batch())
    actnorm(batch())
    wrap(actnorm).load_state_dict(uninitialised)
    with pytest.raises(RuntimeError, match="not initialised"):
        actnorm(batch())


def test_a_constant_channel_does_not_blow_up() -> None:
    x = batch()
    x[:, 1] = 0.7
    actnorm = ActNorm(3)
    z, log_det = actnorm.initialize(x)
    assert z.isfinite().all()
    assert log_det.isfinite().all()
    assert z[:, 1].abs().max() < 1e-5
    assert actnorm(batch())[0][:, 1].abs().max() < 20


def test_a_large_offset_keeps_the_variance() -> None:
    x = 1e4 + torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    actnorm = ActNorm(1)
    actnorm.initialize(x)
    expected = x.double().std(correction=0).log().neg()
    torch.testing.assert_close(actnorm.norm.log_scale.double(), expected[None], rtol=0, atol=1e-4)


def test_one_image_of_one_pixel_initialises() -> None:
    z, log_det = ActNorm(2).initialize(torch.randn(1, 2, 1, 1))
    assert torch.equal(z, torch.zeros_like(z))
    assert torch.equal(log_det, torch.zeros(1))


def test_no_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="num_channels is 0"):
        ActNorm(0)
