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
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, context: Tensor) -> Tensor:
        """Return the shift."""
        if context.ndim == 2:
            return super().forward(context)[:, :, None, None]
        return F.conv2d(context, self.weight[:, :, None, None])
