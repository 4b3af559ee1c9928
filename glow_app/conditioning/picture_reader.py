"""A small convolutional network from pictures to numbers, such as their attributes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.feature_network import ResidualBlock, normalised
from glow_app.seeding import draw_rows

_SIDE = 64  # of the means of pixels that it sees, of pictures of every size
_LAYERS = ((40, 4, 4, 0), (56, 3, 2, 1), (64, 3, 2, 1))  # channels, kernel, stride and padding; together down to 4x4
_MOVE, _ZOOM, _NOISE = 0.1, 0.1, 0.02  # largest changes in training, of half a side, of the size and of white


class PictureReader(nn.Module):
    """Numbers that pictures show: residual blocks on means of pixels, and a linear map of their normalised features.

    In training, pictures are moved, enlarged or reduced a little, and get noise.

    Args:
        num_outputs: The numbers K.
    Shape:
        images: uint8, (B, 1 or 3, H, W); output: (B, K).
    """

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, kernel, stride, padding in _LAYERS:
            layers += [nn.Conv2d(channels, width, kernel, stride, padding), ResidualBlock(width)]
            channels = width
        self.features, self.last = nn.Sequential(*layers), nn.Linear(channels * 4 * 4, num_outputs)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the numbers; the generator is the source of the changes in training."""
        values = images.to(next(self.parameters())) / 255 - 0.5
        means = F.adaptive_avg_pool2d(values, _SIDE).expand(-1, 3, -1, -1)
        features = self.features(_varied(means, generator) if self.training else means)
        numbers: Tensor = self.last(normalised(features).flatten(1))
        return numbers


def _varied(images: Tensor, generator: torch.Generator | None) -> Tensor:
    draws = 2 * draw_rows(torch.rand, (len(images), 3), generator, images.device).to(images) - 1
    zoom = (1 + _ZOOM * draws[:, :1, None]) * torch.eye(2).to(images)
    grid = F.affine_grid(torch.cat([zoom, _MOVE * draws[:, 1:, None]], 2), list(images.shape), align_corners=False)
    noise = draw_rows(torch.randn, images.shape, generator, images.device).to(images)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False) + _NOISE * noise
