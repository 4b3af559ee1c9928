"""The context of a flow: of its levels, its split priors, its conditioners and single images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Context = Tensor | Sequence[Tensor] | None


def per_level(context: Context, num_levels: int) -> Sequence[Tensor | None]:
    """Return the context of each level.

    Raises:
        ValueError: If the number of feature maps is not that of levels.
    """
    if context is None or isinstance(context, Tensor):
        return [context] * num_levels
    if len(context) != num_levels:
        raise ValueError(f"got {len(context)} feature maps; expected {num_levels}, one per level")
    return context


def prior_context(kept: Tensor, latent: Tensor, context: Tensor | None) -> Tensor | None:
    """Return the context of a latent's prior: the channels that go on, if any, joined with the context of its level.

    Args:
        kept: (B, C, H, W), where C is 0 for the last latent.
        latent: (B, C_l, H, W).
        context: (B, E), put at every pixel, or feature maps, (B, E, H, W) or (1, E, H, W) for all images; or None.
    """
    if not kept.shape[1]:
        # latent.shape[0], not len(latent), which torch.export would make a constant.
        return context if context is None or context.ndim == 2 else context.expand(latent.shape[0], -1, -1, -1)
    if context is None:
        return kept
    if context.ndim == 2:
        context = context[:, :, None, None].expand(-1, -1, *kept.shape[2:])
    return torch.cat([kept, context.to(kept.dtype).expand(kept.shape[0], -1, -1, -1)], dim=1)


def rows_of(context: Context, rows: slice | Tensor) -> Context:
    """Return the context of some of the images."""
    if context is None or isinstance(context, Tensor):
        return None if context is None else context[rows]
    return [feature_map if len(feature_map) == 1 else feature_map[rows] for feature_map in context]


class ContextShift(nn.Linear):
    r"""A linear map of the context, to be added to feature maps: the same for all pixels, or one shift per pixel.

    Args:
        in_features: Size :math:`E` of the context.
        out_features: Channels :math:`F` of the feature maps.
    Shape:
        context: (B, E) or (B, E, H, W); output: (B, F, 1, 1) or (B, F, H, W).
    Raises:
        ValueError: If the context is missing or of another shape.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, context: Tensor | None) -> Tensor:
        """Return the shift."""
        if context is None or context.ndim not in (2, 4) or context.shape[1] != self.in_features:
            got = None if context is None else tuple(context.shape)
            shapes = f"(B, {self.in_features}) or (B, {self.in_features}, H, W)"
            raise ValueError(f"the conditioner expects a context of shape {shapes}, got {got}")
        if context.ndim == 2:
            return super().forward(context)[:, :, None, None]
        return F.conv2d(context, self.weight[:, :, None, None])
