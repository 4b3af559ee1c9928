"""Properties of every flow, whatever its parts."""

from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import Bijection, NormalDensity
from glow_app.flows import MultiscaleFlow
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn.context import Context

__all__ = ["check_inverse", "check_log_det", "check_samples"]


def check_inverse(flow: MultiscaleFlow, x: Tensor, context: Context, tolerance: float) -> None:
    """Check that both directions undo each other, from images and from latents, with opposite log-determinants."""
    latents, log_det = flow(x, context)
    assert [tuple(latent.shape[1:]) for latent in latents] == flow.latent_shapes_at(*x.shape[2:])
    back, inverse_log_det = flow.inverse(latents, context)
    torch.testing.assert_close(back, x, rtol=0, atol=tolerance)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=tolerance)
    torch.testing.assert_close(flow.decode(flow.encode(x, context), context), x, rtol=0, atol=tolerance)

    noise = [torch.randn_like(latent) for latent in latents]
    drawn, inverse_log_det = flow.inverse(noise, context)
    again, log_det = flow(drawn, context)
    torch.testing.assert_close(again, noise, rtol=0, atol=10 * tolerance)
    torch.testing.assert_close(log_det, -inverse_log_det, rtol=0, atol=10 * tolerance)


def check_log_det(flow: MultiscaleFlow, x: Tensor, context: Context, tolerance: float) -> None:
    """Check the log-determinant of an image, (1, C, H, W), against the Jacobian, and the density against both."""

    def flat(values: Tensor) -> Tensor:
        return torch.cat([latent.flatten() for latent in flow(values.reshape(x.shape), context)[0]])

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten())
    assert jacobian.shape == (x.numel(), x.numel())
    latents, log_det = flow(x, context)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian).logabsdet[None], rtol=0, atol=tolerance)
    density = standard_normal_log_density(latents) + log_det
    torch.testing.assert_close(flow.log_prob(x, context), density)
    torch.testing.assert_close(flow.level_log_probs(x, context).sum(1), density)


def check_samples(density: NormalDensity, shape: tuple[int, ...], context: Any, tolerance: float) -> None:
    """Check that samples are the images of base noise at a temperature, and their density that of the noise.

    Their gradient is compared with a finite difference along one direction.
    """
    generators = [torch.Generator().manual_seed(3) for _ in range(3)]
    samples = density.sample(3, context, 0.8, generators[0])
    assert samples.shape == (3, *shape)
    noise = [
        0.8 * torch.randn(3, *latent, generator=generators[1], dtype=samples.dtype) for latent in density.latent_shapes
    ]
    drawn, log_det = density.inverse(noise[0] if isinstance(density, Bijection) else noise, context)  # type: ignore[attr-defined]
    torch.testing.assert_close(samples, drawn, rtol=0, atol=tolerance)
    expected = standard_normal_log_density(noise) - log_det
    torch.testing.assert_close(density.log_prob(samples, context), expected, rtol=0, atol=tolerance)
    both = density.sample_and_log_prob(3, context, 0.8, generators[2])
    torch.testing.assert_close(both, (samples, expected), rtol=0, atol=tolerance)

    parameters = [each for each in density.parameters() if each.requires_grad]  # type: ignore[attr-defined]
    changes = [torch.randn(each.shape, generator=generators[1], dtype=each.dtype) for each in parameters]
    weights = torch.randn(samples.shape, generator=generators[1], dtype=samples.dtype)

    def weighted_sum(step: float = 0.0) -> Tensor:
        with torch.no_grad():
            for each, change in zip(parameters, changes, strict=True):
                each.add_(step * change)
        drawn = density.rsample(3, context, 0.8, torch.Generator().manual_seed(3))
        torch.testing.assert_close(drawn, samples, rtol=0, atol=1e-2)
        return (weights * drawn).sum()

    gradients = torch.autograd.grad(weighted_sum(), parameters, allow_unused=True)
    slope = sum((grad * change).sum() for grad, change in zip(gradients, changes, strict=True) if grad is not None)
    after, before = weighted_sum(1e-6), weighted_sum(-2e-6)
    torch.testing.assert_close(slope, (after - before) / 2e-6, rtol=1e-3, atol=1e-3 if tolerance < 1e-3 else 1)
