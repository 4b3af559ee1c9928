"""Weights of one flow as the start of another."""

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection, DiagonalAffine
from glow_app.bijections.affine import MAX_LOG_SCALE
from glow_app.conditioning import Unconditional
from glow_app.flows.glow import Glow
from glow_app.nn.context import ContextShift
from glow_app.priors import GaussianPrior


@torch.no_grad()
def copy_levels(target: Glow, source: Glow) -> int:
    """Copy levels of ``source`` to ``target``, the finest first, up to the first that does not fit; return how many.

    A level fits if the channels, the number of steps and the couplings agree; height and width may differ. The prior of
    its latent is copied too if it fits. A context that only ``target`` takes has no effect at first, so that the copied
    part computes the same function as before. The rest is left as it is: ``initialize`` sets it from a batch.

    Raises:
        ValueError: If ``source`` takes a context.
    """
    if not isinstance(source.conditioning, Unconditional):
        raise ValueError("levels can be taken only from an unconditional model; to take a whole one, use --init-from")
    pairs = zip(
        zip(target.levels, [*target.split_priors, target.prior], strict=True),
        zip(source.levels, [*source.split_priors, source.prior], strict=True),
        strict=False,
    )
    num_taken = 0
    for (level, prior), (source_level, source_prior) in pairs:
        shifts = {name: part for name, part in level.named_modules() if isinstance(part, ContextShift)}
        without_effect = {f"{name}.weight": torch.zeros_like(part.weight) for name, part in shifts.items()}
        if not _load_if_it_fits(level, source_level.state_dict() | without_effect):
            break
        _copy_prior(prior, source_prior)
        num_taken += 1
    return num_taken


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
