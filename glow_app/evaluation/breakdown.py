"""Bits/dim by level, and log-determinants by kind of layer."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection, Chain, PixelwiseChain
from glow_app.models.image_model import ImageModel


@torch.no_grad()
def breakdown(
    model: ImageModel, images: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
) -> dict[str, float]:
    r"""Return the mean bits/dim of a batch by level, and its log-determinants by kind of layer.

    ``bpd_level/l``, which add up to the bits/dim of the batch, are the means of
    :meth:`ImageModel.dequantised_level_bits <glow_app.models.image_model.ImageModel.dequantised_level_bits>`;
    ``log_det/Kind`` are the log-determinants of all layers of a kind, divided by :math:`D \log 2`, which add up to that
    of the flow.

    Args:
        model: The model.
        images: uint8 (B, C, H, W).
        labels: (B,), for a class-conditional model.
        generator: Generator of the damage, if the model has a task, and of the dequantisation noise.
    """
    flow, bits = model.flow, images[0].numel() * math.log(2)
    of_kind: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    handles = []
    for layer in _layers(flow):

        def watch_layer(layer: Any, inputs: Any, output: Any) -> None:
            for name, log_det in _log_dets(layer, inputs[0], output[1]).items():
                of_kind[name] = of_kind[name] + log_det

        handles.append(layer.register_forward_hook(watch_layer))
    try:
        condition = model.condition(images, generator)
        of_level = model.dequantised_level_bits(model.dequantised(images, generator), labels, condition).mean(0)
    finally:
        for handle in handles:
            handle.remove()
    levels = {f"bpd_level/{level}": float(value) for level, value in enumerate(of_level)}
    return levels | {f"log_det/{name}": float(value) / bits for name, value in sorted(of_kind.items())}


def _layers(module: nn.Module) -> list[Bijection]:
    """Return the bijections that are not chains; a pixelwise chain counts as a single bijection."""
    layers: list[Bijection] = []
    for child in module.children():
        is_layer = isinstance(child, Bijection) and not isinstance(child, Chain)
        layers += [child] if is_layer else _layers(child)  # type: ignore[list-item]
    return layers


def _log_dets(layer: Bijection, x: Tensor, log_det: Tensor) -> dict[str, Tensor]:
    """Return the mean log-determinant of a layer by its name; of a pixelwise chain, those of its parts."""
    if not isinstance(layer, PixelwiseChain):
        return {type(layer).__name__: log_det.mean().cpu()}
    pixels = x.shape[2] * x.shape[3]
    return {type(part).__name__: pixels * part.affine()[2].cpu() for part in layer.bijections}  # type: ignore[operator]
