"""Glow with each prior in place of its Gaussian: properties of the whole model."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from flow_checks import check_log_det
from registry import PRIORS, perturb, random_images, tiny_glow, tiny_model
from torch import Tensor
from torch.quasirandom import SobolEngine

from glow_app.bijections import Bijection
from glow_app.conditioning import ClassConditioning
from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import Context
from glow_app.priors import CNFPrior

priors = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())

# Two levels; the last latent has 8 channels and 2 pixels.
IMAGE_SHAPE = (1, 8, 4)


def built(prior: Callable[..., Bijection], num: int = 3) -> tuple[Glow, Tensor, Context]:
    """Return a flow with all parameters moved, those of the prior further; images and the context of their classes."""
    classes = ClassConditioning(3, 3)
    flow = tiny_glow(IMAGE_SHAPE, 2, 1, 6, torch.float64, perturbation=0.05, prior=prior, conditioning=classes).eval()
    perturb(flow.prior, seed=1, size=0.2)
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(num, *IMAGE_SHAPE, dtype=torch.float64, generator=generator) - 0.5
    return flow.requires_grad_(False), x, classes((torch.arange(num) + 1) % 3)


def tolerance(flow: Glow) -> float:
    # The tolerance of the solver in evaluation mode is 1e-7 a step, of the mean over a batch.
    return 1e-5 if isinstance(flow.prior, CNFPrior) else 1e-8


@priors
def test_the_log_det_equals_the_jacobians(prior: Callable[..., Bijection]) -> None:
    flow, x, context = built(prior, 1)
    check_log_det(flow, x, context, tolerance(flow))


@priors
@torch.no_grad()
def test_the_density_of_a_whole_model_integrates_to_one(prior: Callable[..., Bijection]) -> None:
    classes = ClassConditioning(3, 2)
    flow = tiny_glow((1, 2, 2), 1, 1, 6, torch.float64, perturbation=0.1, prior=prior, conditioning=classes).eval()
    num = 2**13
    # Importance sampling on a low-discrepancy grid; a logistic has heavier tails than the flow.
    noise = [torch.randn(2000, 4, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))]
    samples = flow.decode(noise, classes(torch.ones(2000, dtype=torch.long))).flatten(1)
    root = torch.linalg.cholesky(samples.T.cov())
    uniform = SobolEngine(4, scramble=True, seed=0).draw(num, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    points = samples.mean(0) + torch.logit(uniform) @ root.T
    log_proposal = (torch.log(uniform) + torch.log1p(-uniform)).sum(1) - root.diagonal().log().sum()
    log_density = flow.log_prob(points.reshape(-1, 1, 2, 2), classes(torch.ones(num, dtype=torch.long)))
    assert math.isclose((log_density - log_proposal).exp().mean().item(), 1.0, abs_tol=3e-2)


def image_model(prior: Callable[..., Bijection]) -> ImageModel:
    """Return a float32 model with all parameters moved, those of the prior further."""
    model = tiny_model(image_shape=IMAGE_SHAPE, prior=prior, conditioning=ClassConditioning(3, 3))
    # No further: splines of random weights soon have slopes that float32 cannot undo.
    perturb(model.flow.prior, seed=1, size=0.1)
    return model


@priors
def test_eight_bit_images_come_back_exactly(prior: Callable[..., Bijection]) -> None:
    model = image_model(prior)
    black = torch.zeros(1, *IMAGE_SHAPE, dtype=torch.uint8)
    images = torch.cat([random_images(62, IMAGE_SHAPE), black, 255 - black])
    labels = torch.arange(64) % 3
    assert torch.equal(model.decode(model.encode(images, labels), labels), images)


def test_more_draws_are_no_better_by_the_noise_of_a_trace() -> None:
    """A mean of densities over independent estimates of the trace would be too large, and the figure too good."""
    prior = partial(CNFPrior, hidden_features=8, eval_solver="rk4", num_steps=2)
    arguments: dict[str, Any] = {"image_shape": (1, 4, 4), "num_levels": 1}
    exact = tiny_model(prior=partial(prior, trace="exact"), **arguments)
    perturb(exact.flow.prior, seed=1, size=0.5)
    noisy = tiny_model(prior=partial(prior, trace="hutchinson"), **arguments)
    noisy.load_state_dict(exact.state_dict())

    def figure(model: ImageModel, seed: int) -> Tensor:
        return model.bits_per_dim(random_images(8, (1, 4, 4)), None, 8, torch.Generator().manual_seed(seed)).mean()

    differences = torch.stack([figure(noisy, seed) - figure(exact, seed) for seed in range(3)])
    spread = differences.std() / len(differences) ** 0.5
    assert spread > 0
    assert abs(differences.mean()) < 4 * spread


def test_the_generator_decides_the_noise_of_a_trace_and_is_not_drawn_from() -> None:
    prior = partial(CNFPrior, hidden_features=8, trace="hutchinson")
    model, images = tiny_model(prior=prior, image_shape=(1, 4, 4), num_levels=1), random_images(4, (1, 4, 4))
    perturb(model.flow.prior, seed=1, size=0.5)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    first, second = (model.bits_per_dim(images, generator=generator) for generator in generators)
    assert torch.equal(first, second)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    plain = torch.Generator().manual_seed(0)
    model.dequantised(images, plain)
    assert torch.equal(generators[0].get_state(), plain.get_state())
