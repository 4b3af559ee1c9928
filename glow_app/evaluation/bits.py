"""Mean bits/dim of images with its standard error; bits/dim by level, and log-determinants by kind of layer."""

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection, Chain, ContinuousFlow, PixelwiseChain, record_solves
from glow_app.conditioning import Given
from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import observed_batches
from glow_app.generation.baselines import png_bits_per_dim
from glow_app.models import Density, ImageModel
from glow_app.seeding import image_generators

PNG_IMAGES = 10_000  # maximum number of images in the PNG, all of which are in memory


@dataclass(frozen=True)
class MeanBits:
    """Mean bits/dim of images.

    Args:
        mean: Mean over the images.
        standard_error: Standard error of the mean, as an estimate for all images of this kind.
        num_draws: Dequantisation draws per image.
    """

    mean: float
    standard_error: float
    num_draws: int


def mean_bits(model: ImageModel, images: ImageSet, num_draws: int = 1, seed: int = 0, batch_size: int = 64) -> MeanBits:
    r"""Return mean bits/dim of images.

    With one draw of the dequantisation noise u, this is the bound reported in the literature; with K draws, it is the
    importance-weighted bound, which is tighter and approaches the exact value for :math:`K \to \infty`:

    .. math:: -\log P(q) \le -\mathbb E \log \frac1K \sum_k p(q + u_k) \le -\mathbb E_u \log p(q + u)

    The first of the K draws of an image equals its single draw, so the two results differ only by the bound.

    Args:
        model: The model; it is given what training would know of the images.
        images: At least 2.
        num_draws: The number K.
        seed: Seed of the noise of the first image; image i uses seed + i.
    References:
        Burda et al. 2016, arXiv:1509.00519; for dequantisation Ho et al. 2019, arXiv:1902.00275.
    """
    parts: list[Tensor] = []
    for part, given, generator in observed_batches(model, images, batch_size, "bits/dim", seed):
        first = seed + sum(map(len, parts))
        with record_solves(image_generators(range(first, first + len(part)))):
            parts.append(model.bits_per_dim(part, given, num_draws, generator).cpu())
    bits = torch.cat(parts).double()
    return MeanBits(float(bits.mean()), float(bits.std() / math.sqrt(len(bits))), num_draws)


def bits_record(
    model: ImageModel, images: ImageSet, num_draws: int, seed: int = 0, batch_size: int = 64
) -> dict[str, Any]:
    """Return :func:`mean_bits` with one draw and with several, and bits/dim of a PNG, as plain types."""
    one = asdict(mean_bits(model, images, 1, seed, batch_size))
    several = one if num_draws == 1 else asdict(mean_bits(model, images, num_draws, seed, batch_size))
    png = png_bits_per_dim(images.head(PNG_IMAGES), model.num_bits)
    note = estimated_trace_note(model, math.prod(model.flow.latent_shapes[-1]))
    return {"one_draw": one, "importance_weighted": several, "png": png, "trace_estimated": bool(note)}


@torch.no_grad()
def breakdown(
    model: ImageModel, images: Tensor, given: Given = None, generator: torch.Generator | None = None
) -> dict[str, float]:
    r"""Return the mean bits/dim of a batch by level, and its log-determinants by kind of layer.

    ``bpd_level/l``, which add up to the bits/dim of the batch, are the means of
    :meth:`ImageModel.dequantised_level_bits <glow_app.models.image_model.ImageModel.dequantised_level_bits>`;
    ``log_det/Kind`` are the log-determinants of all layers of a kind, divided by :math:`D \log 2`, which add up to that
    of the flow.

    Args:
        images: uint8 (B, C, H, W).
        given: What is known about the images.
        generator: Generator of the dequantisation noise.
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
        of_level = model.dequantised_level_bits(model.dequantised(images, generator), given).mean(0)
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


def estimated_trace_note(model: Density, num_dims: int) -> str:
    """Return a note if a continuous prior on ``num_dims`` values estimates its trace; otherwise an empty string."""
    model.eval()  # in training mode, traces are estimated from fewer dimensions on
    flows = (part for part in model.modules() if isinstance(part, ContinuousFlow))
    return ", trace of the prior estimated" if any(flow.estimates(num_dims) for flow in flows) else ""
