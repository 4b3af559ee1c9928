"""The bundled feature extractor: a small classifier of clothes."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from glow_app.data.resizing import convert_array

WEIGHTS = Path(__file__).with_name("fashion_cnn_64.safetensors")
SIDE = 28


class FashionCNN(nn.Module):
    """Five 3x3 convolutions in three stages of halved resolution, global average pooling, and ten classes.

    Shape:
        x: (B, 1, 28, 28), in [0, 1]; features: (B, 64); logits: (B, 10).
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(1, 16),
            nn.MaxPool2d(2),
            *_convolution(16, 32),
            *_convolution(32, 32),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            *_convolution(64, 64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, 10)

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the last layer."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the classes."""
        return self.head(self.features(x))


def _convolution(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]


class SmallFeatures:
    """The 64 features of the bundled classifier, trained on Fashion-MNIST.

    Grey images of any size are resized to 28x28 by Pillow's antialiased Lanczos filter. The features distinguish
    clothes and similar images. They are not meaningful for colour images, such as faces or landscapes, which are
    refused. Results are comparable only with results from the same features.

    Args:
        device: Device of the network.
    Shape:
        images: (B, 1, H, W), uint8; features: (B, 64), float32, on the CPU.
    Raises:
        ValueError: On use, for colour images.
    """

    name = "fashion-cnn-64"
    trained_on = "Fashion-MNIST"
    preprocessing = "grey, 28x28 by Lanczos"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        content = WEIGHTS.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.device = torch.device(device)
        self.network = FashionCNN()
        self.network.load_state_dict(load(content))
        self.network.eval().to(self.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the features."""
        if images.shape[1] != 1:
            raise ValueError(f"{self.name} supports only grey images; use another extractor for colour")
        grey = torch.from_numpy(convert_array(images.cpu().numpy(), (1, SIDE, SIDE), "stretch"))
        return self.network.features(grey.to(self.device).float() / 255).cpu()
