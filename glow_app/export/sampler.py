"""The exportable part of a model: from latents to images."""

from collections.abc import Sequence

from torch import Tensor, nn

from glow_app.bijections import ContinuousFlow, Inverse, MaskedAutoregressive, Planar
from glow_app.flows.class_embedding import extrapolate
from glow_app.likelihood import to_uint8
from glow_app.models.image_model import ImageModel
from glow_app.running import fold

# Steps of an autoregressive prior, each of which is in the graph; this number takes minutes to export.
MAX_STEPS = 256


class Sampler(nn.Module):
    r"""The map from whitened latents to images, with folded weights (:func:`~glow_app.running.fold`).

    .. math:: z \mapsto \mathrm{uint8}(f^{-1}(z)), \qquad z_l = T_l\, \epsilon_l, \quad \epsilon_l \sim \mathcal N(0, I)

    The images are those of :meth:`ImageModel.decode <glow_app.models.image_model.ImageModel.decode>`. Control flow does
    not depend on values, so a single graph of ``torch.export`` holds for all inputs and batch sizes.

    Args:
        model: The model, on the CPU; it is not modified.
    Shape:
        latents: (B, C_l, H_l, W_l) per level; labels: (B,), int64, from 0 to ``num_classes - 1``, or None for an
        unconditional model; guidance: (B,), with the latents' dtype, 1 if None, as for
        :meth:`Glow.embed <glow_app.flows.Glow.embed>`; images: (B, C, H, W), uint8.
    Raises:
        ValueError: If inverting the prior requires iteration or too many steps.
    """

    mean: Tensor

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        _require_one_graph(model)
        self.flow = fold(model.flow)
        self.num_bits = model.num_bits
        if model.flow.embedding is not None:
            self.register_buffer("mean", model.flow.embedding.weight.detach().mean(0))
        self.eval()

    def forward(
        self, latents: Sequence[Tensor], labels: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        """Return the images of ``latents``."""
        # Glow.embed would check the values of labels and guidance.
        context = None if self.flow.embedding is None else self.flow.embedding(labels)
        if context is not None and guidance is not None:
            context = extrapolate(context, self.mean, guidance)
        return to_uint8(self.flow.decode(latents, context), self.num_bits)


def _require_one_graph(model: ImageModel) -> None:
    prior = model.flow.prior
    if any(isinstance(part, (ContinuousFlow, Planar)) for part in prior.modules()):
        raise ValueError(
            f"{type(prior).__name__} is inverted by iteration, which a graph cannot express; use glow sample, or train "
            "with a Gaussian, MAF or IAF prior"
        )
    quick = {part.bijection for part in prior.modules() if isinstance(part, Inverse)}
    slow = [part for part in prior.modules() if isinstance(part, MaskedAutoregressive) and part not in quick]
    if (num_steps := sum(part.num_steps for part in slow)) > MAX_STEPS:
        raise ValueError(
            f"{type(prior).__name__} draws in {num_steps} steps, but a graph has at most {MAX_STEPS}; use glow "
            "sample, or train with fewer max_groups or an IAF prior"
        )
