"""A context as a shift of feature maps."""

import torch.nn.functional as F
from torch import Tensor, nn


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
