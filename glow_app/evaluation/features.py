"""Feature extractors: bundled, or from a file of the user; nothing is downloaded."""

import hashlib
import warnings
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load
from torch import Tensor, nn

from glow_app.data.resizing import convert_array
from glow_app.files import sha256_of

WEIGHTS = Path(__file__).with_name("fashion_cnn_64.safetensors")
GREY_SIDE = 28  # of the images that the bundled network sees


class FeatureExtractor(Protocol):
    """Maps images to features with meaningful distances.

    Attributes:
        name: Name to report with results.
        trained_on: Training data, the kind of images that the features describe.
        preprocessing: Preprocessing of the images.
        sha256: SHA-256 of the file of weights.
    Shape:
        images: (B, 1 or 3, H, W), uint8; features: (B, F), float32, on the CPU.
    """

    name: str
    trained_on: str
    preprocessing: str
    sha256: str

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features."""


def load_features(place: str | Path = "small", device: torch.device | str = "cpu") -> FeatureExtractor:
    """Return a feature extractor.

    Args:
        place: "small" for :class:`SmallFeatures`; or the file of a TorchScript module, which is a program, for
            :class:`TorchScriptFeatures`.
        device: Device of the extractor.
    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is something else.
    """
    if place == "small":
        return SmallFeatures(device)
    path = Path(place)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; --features takes small, or a TorchScript module")
    return TorchScriptFeatures(path, device)


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
        grey = torch.from_numpy(convert_array(images.cpu().numpy(), (1, GREY_SIDE, GREY_SIDE), "stretch"))
        return self.network.features(grey.to(self.device).float() / 255).cpu()


class TorchScriptFeatures:
    """The features of a TorchScript module, by the convention of NVIDIA's ``inception-2015-12-05.pt``.

    The module takes uint8 RGB images (B, 3, H, W) of any size, resizes them itself, and returns (B, F) or
    (B, F, 1, 1). If its ``forward`` has an argument ``return_features``, it is set to True. Grey images are repeated in
    all three channels.

    Args:
        path: The file. It contains a program; load only files that you trust.
    Shape:
        images: (B, 1 or 3, H, W), uint8; features: (B, F), float32, on the CPU.
    Raises:
        ValueError: If the file cannot be read; or on use, if the module does not follow the convention.
    References:
        Karras et al. 2020, arXiv:2006.06676, whose code introduced the convention.
    """

    trained_on = "unknown data"
    preprocessing = "the module's own"

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        self.name, self.sha256 = path.name, sha256_of(path)
        self.device = torch.device(device)
        try:
            # torch deprecates TorchScript, but the weights exist only in this format.
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                self.module = torch.jit.load(str(path), map_location=self.device).eval()
            arguments = [argument.name for argument in self.module.forward.schema.arguments]
        except (RuntimeError, ValueError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} cannot be read as a TorchScript module ({reason}); download it again") from error
        self.options = {"return_features": True} if "return_features" in arguments else {}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the features.

        Raises:
            ValueError: If the module does not take uint8 RGB images, or returns something else.
        """
        rgb = images.expand(-1, 3, -1, -1).to(self.device)
        try:
            features = self.module(rgb, **self.options)
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"{self.name} fails on uint8 RGB images {tuple(rgb.shape)}: {reason}") from error
        if not isinstance(features, Tensor) or len(features) != len(images) or features[0].numel() != features.shape[1]:
            output = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"{self.name} returns {output} for {len(images)} images; expected ({len(images)}, F)")
        return features.flatten(1).float().cpu()
