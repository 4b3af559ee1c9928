"""Whitening along a few directions of the whole latent."""

import math

import torch
from torch import Tensor

from glow_app.bijections import PrincipalDirections
from glow_app.bijections.principal_directions import EXAMPLES_PER_DIRECTION

SHAPE = (6, 4, 2)


def examples(num: int, *deviations: float, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return white noise except for deviations along the first of some directions, and the directions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, *shape, generator=generator).flatten(1)
    basis = torch.linalg.qr(torch.randn(x.shape[1], len(deviations), generator=generator)).Q
    x = x + (x @ basis * (torch.tensor(deviations) - 1)) @ basis.T
    return x.unflatten(1, shape), basis.T


def test_finds_the_directions_and_their_deviations() -> None:
    x, directions = examples(6000, 4.0, 2.0)
    whitening = PrincipalDirections(SHAPE, 5)
    whitening.fit(x)
    fitted = whitening.directions.flatten(1)
    torch.testing.assert_close((fitted[:2] @ directions.T).abs(), torch.eye(2), rtol=0.0, atol=0.05)
    torch.testing.assert_close(whitening.std, torch.tensor([4.0, 2.0, 1.0, 1.0, 1.0]), rtol=0.05, atol=0.0)
    z, _ = whitening(x)
    torch.testing.assert_close(torch.cov(z.flatten(1).T), torch.eye(48), rtol=0.0, atol=0.12)


def test_takes_one_direction_per_hundred_examples_at_most() -> None:
    whitening = PrincipalDirections(SHAPE, 5)
    for num, expected in ((EXAMPLES_PER_DIRECTION * 3 + 10, 3), (EXAMPLES_PER_DIRECTION - 1, 0)):
        x, _ = examples(num, 3.0)
        whitening.fit(x)  # forgets what it was fitted to before
        assert int(whitening.directions.flatten(1).any(1).sum()) == expected
        assert int((whitening.std != 1).sum()) == expected


def test_leaves_out_examples_that_are_not_finite() -> None:
    x, _ = examples(402, 3.0)
    finite, damaged = PrincipalDirections(SHAPE, 2), PrincipalDirections(SHAPE, 2)
    finite.fit(x[2:])
    x[:2, 0, 0, 0] = torch.tensor([math.nan, math.inf])
    damaged.fit(x)
    assert torch.equal(damaged.directions, finite.directions)
    assert torch.equal(damaged.std, finite.std)


def test_examples_that_do_not_vary_leave_it_invertible() -> None:
    whitening = PrincipalDirections(SHAPE, 2)
    whitening.fit(torch.zeros(400, *SHAPE))
    x, _ = examples(3)
    z, log_det = whitening(x)
    assert log_det.isfinite().all()
    torch.testing.assert_close(whitening.inverse(z)[0], x)


def test_leaves_inputs_of_another_size_as_they_are() -> None:
    x, _ = examples(400, 3.0)
    whitening = PrincipalDirections(SHAPE, 2)
    whitening.fit(x)
    larger = torch.randn(2, 6, 8, 4)
    for run in (whitening.forward, whitening.inverse):
        z, log_det = run(larger)
        assert torch.equal(z, larger)
        assert torch.equal(log_det, torch.zeros(2))
