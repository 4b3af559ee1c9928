"""Weights of one flow as the initial weights of another."""

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection, DiagonalAffine
from glow_app.bijections.affine import MAX_LOG_SCALE
from glow_app.conditioning import Unconditional
from glow_app.flows import Glow, WaveletFlow
from glow_app.flows.detail_flow import DetailFlow
from glow_app.nn.context import ContextShift
from glow_app.priors import GaussianPrior
from glow_app.spec import spec_of


@torch.no_grad()
def copy_levels(target: Glow | WaveletFlow, source: Glow | WaveletFlow) -> int:
    """Copy levels of ``source`` to ``target``, up to the first that does not fit; return how many.

    Levels of a Glow are taken from the finest on, those of a wavelet flow from the coarsest on. A level fits if the
    channels, the number of steps and the couplings agree; height and width may differ. The prior of its latent is
    copied too if it fits. A context that only ``target`` takes has no effect at first, so that the copied part computes
    the same function as before; one that both take is copied with the levels. The rest is unchanged: ``initialize``
    sets it from a batch.

    Raises:
        ValueError: If ``source`` takes another context than ``target``.
    """
    given, its = target.conditioning, source.conditioning
    if not isinstance(its, Unconditional) and spec_of(given) != spec_of(its):
        raise ValueError(
            "levels can be taken only from a model that is given the same or nothing; to take a whole one, use "
            "--init-from"
        )
    if type(target) is not type(source):
        return 0
    levels, source_levels = (
        list(zip(flow.levels, [*flow.split_priors, flow.prior], strict=True)) for flow in (target, source)
    )
    if isinstance(target, WaveletFlow):
        levels, source_levels = levels[::-1], source_levels[::-1]
    num_taken = 0
    for (level, prior), (source_level, source_prior) in zip(levels, source_levels, strict=False):
        details = isinstance(prior, DetailFlow) and not _load_without_context(prior, source_prior)
        if details or not _load_without_context(level, source_level):
            break
        _copy_prior(prior, source_prior)
        num_taken += 1
    if num_taken and not isinstance(its, Unconditional):
        given.load_state_dict(its.state_dict())
    return num_taken


def _load_without_context(part: nn.Module, source: nn.Module) -> bool:
    """Load weights if they fit, with zeros for those of a context that only ``part`` takes."""
    shifts = {name: shift for name, shift in part.named_modules() if isinstance(shift, ContextShift)}
    without_effect = {f"{name}.weight": torch.zeros_like(shift.weight) for name, shift in shifts.items()}
    return _load_if_it_fits(part, without_effect | source.state_dict())


def _load_if_it_fits(part: nn.Module, weights: dict[str, Tensor]) -> bool:
    shapes = {name: tensor.shape for name, tensor in part.state_dict().items()}
    if fits := shapes == {name: tensor.shape for name, tensor in weights.items()}:
        part.load_state_dict(weights)
    return fits


def _copy_prior(prior: Bijection, source: Bijection) -> None:
    if type(prior) is not type(source) or _load_if_it_fits(prior, source.state_dict()):
        return
    if isinstance(prior, GaussianPrior) and isinstance(source, GaussianPrior):
        prior, source = prior.whiten, source.whiten
    if isinstance(prior, DiagonalAffine) and isinstance(source, DiagonalAffine) and prior.context_features:
        _copy_affine(prior, source)


def _copy_affine(affine: DiagonalAffine, source: DiagonalAffine) -> None:
    """Copy to an affine map whose context begins with that of ``source``."""
    projection = affine.projection
    projection.weight.zero_()
    if source.context_features:
        projection.weight[:, : source.context_features].copy_(source.projection.weight)
        projection.bias.copy_(source.projection.bias)
        projection.log_scale.copy_(source.projection.log_scale)
        return
    raw = MAX_LOG_SCALE * (source.log_scale / MAX_LOG_SCALE).clamp(-0.999, 0.999).atanh()  # of a learned scale
    projection.bias.copy_(torch.cat([source.mean, raw]).flatten())
    projection.log_scale.zero_()
