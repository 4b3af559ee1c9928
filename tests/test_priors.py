import pytest
import torch
from registry import perturb

from glow_app.bijections import Bijection
from glow_app.likelihood import standard_normal_log_density
from glow_app.priors import GaussianPrior


@pytest.mark.parametrize("context_features", [0, 3])
def test_starts_as_the_standard_normal(context_features: int) -> None:
    prior = GaussianPrior((4, 2, 3), context_features)
    assert isinstance(prior, Bijection)
    x, context = torch.randn(5, 4, 2, 3), torch.randn(5, context_features) if context_features else None
    z, log_det = prior(x, context)
    assert torch.equal(z, x)
    assert torch.equal(log_det, torch.zeros(5))


def test_is_a_gaussian_a_channel() -> None:
    prior = perturb(GaussianPrior((4, 2, 3)).double())
    x = torch.randn(5, 4, 2, 3, dtype=torch.float64)
    z, log_det = prior(x)
    mean, log_scale = (dict(prior.named_parameters())[f"whiten.{name}"] for name in ("mean", "log_scale"))
    assert mean.shape == (4, 1, 1)
    expected = torch.distributions.Normal(mean, log_scale.exp()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(standard_normal_log_density([z]) + log_det, expected)


def test_the_context_moves_the_density() -> None:
    prior = perturb(GaussianPrior((4, 2, 3), 3))
    x = torch.randn(1, 4, 2, 3).expand(2, -1, -1, -1)
    z, log_det = prior(x, torch.randn(2, 3))
    assert log_det[0] != log_det[1]
    assert not torch.allclose(z[0], z[1])


def test_a_conditional_prior_needs_its_context() -> None:
    with pytest.raises(ValueError, match=r"context of shape .2, 3., got None"):
        GaussianPrior((4, 2, 3), 3)(torch.zeros(2, 4, 2, 3))


def test_the_configuration_is_plain() -> None:
    assert GaussianPrior((4, 2, 2)).config == {}
