"""Where an image's bits go: to which level, and what each kind of layer does to the volume."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection, Chain, PixelwiseChain
from glow_app.likelihood import standard_normal_log_density
from glow_app.model import ImageModel

__all__ = ["breakdown"]


@torch.no_grad()
def breakdown(
    model: ImageModel, images: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
) -> dict[str, float]:
    r"""Return the mean bits/dim of a batch in parts.

    ``bpd_level/l``, which add up to the bits/dim of the batch:

    .. math:: b_l = \frac{n D_l}{D} - \frac{\log \mathcal N(z_l; 0, I) + \log|\det J_l|}{D \log 2}

    with the log-determinants of the level's steps and of the prior of its latent; and ``log_det/Kind``, the
    log-determinants of all layers of a kind over :math:`D \log 2`, which add up to that of the flow.

    Args:
        model: An image model.
        images: uint8 (B, C, H, W).
        labels: For a class-conditional model.
        generator: Of the dequantisation noise.
    """
    flow, bits = model.flow, model.num_dims * math.log(2)
    of_level: dict[int, list[Tensor]] = defaultdict(list)
    of_kind: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    handles = []
    parts = [*enumerate(flow.levels), *enumerate([*flow.split_priors, flow.prior])]
    for level, part in parts:
        is_prior = part not in set(flow.levels)

        def watch_level(_: Any, __: Any, found: Any, level: int = level, is_prior: bool = is_prior) -> None:
            of_level[level].append(found[1])
            if is_prior:
                of_level[level].append(standard_normal_log_density([found[0]]))

        handles.append(part.register_forward_hook(watch_level))
    for layer in _layers(flow):

        def watch_layer(layer: Any, inputs: Any, found: Any) -> None:
            for name, log_det in _log_dets(layer, inputs[0], found[1]).items():
                of_kind[name] = of_kind[name] + log_det

        handles.append(layer.register_forward_hook(watch_layer))
    try:
        model(images, labels, generator)
    finally:
        for handle in handles:
            handle.remove()
    sizes = [math.prod(shape) for shape in flow.latent_shapes]
    levels = {
        f"bpd_level/{level}": model.num_bits * size / model.num_dims - float(torch.stack(terms).sum(0).mean()) / bits
        for (level, terms), size in zip(sorted(of_level.items()), sizes, strict=True)
    }
    return levels | {f"log_det/{name}": float(value) / bits for name, value in sorted(of_kind.items())}


def _layers(module: nn.Module) -> list[Bijection]:
    """Return the bijections that are no chains of others; a pixelwise chain counts as one."""
    found: list[Bijection] = []
    for child in module.children():
        is_layer = isinstance(child, Bijection) and not isinstance(child, Chain)
        found += [child] if is_layer else _layers(child)  # type: ignore[list-item]
    return found


def _log_dets(layer: Bijection, x: Tensor, log_det: Tensor) -> dict[str, Tensor]:
    """Return the mean log-determinant of a layer under its name, or those of what was fused in it."""
    if not isinstance(layer, PixelwiseChain):
        return {type(layer).__name__: log_det.mean().cpu()}
    pixels = x.shape[2] * x.shape[3]
    return {type(part).__name__: pixels * part.affine()[2].cpu() for part in layer.bijections}  # type: ignore[operator]
