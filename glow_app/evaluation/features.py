"""Feature extractors: bundled, or from a file of the user; nothing is downloaded."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from glow_app.data.resizing import convert_array
from glow_app.files import sha256_of
from glow_app.storage.model_folders import ENLARGER
from glow_app.storage.stored_model import StoredModel

WEIGHTS = Path(__file__).with_name("fashion_cnn_64.safetensors")
GREY = "fashion-cnn-64"  # name of the bundled network
GREY_SIDE, COLOUR_SIDE = 28, 64  # of the images that they see


@dataclass(frozen=True)
class FeatureExtractor:
    """Maps images to features with meaningful distances.

    Args:
        trained_on: Training data, the kind of images that the features describe.
        extract: The function; raises ValueError for images that it does not suit.
    Shape:
        images: (B, 1 or 3, H, W), uint8; features: (B, F), float32, on the CPU.
    """

    name: str
    trained_on: str
    preprocessing: str
    sha256: str
    extract: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the features."""
        return self.extract(images).float().cpu()


def load_features(place: str | Path, device: torch.device | str = "cpu") -> FeatureExtractor:
    """Return a feature extractor.

    Images of any size are resized by Pillow's antialiased Lanczos filter.

    - "grey" is the bundled classifier's 64 features, trained on Fashion-MNIST, of grey images at 28x28. They
      distinguish clothes and similar images.
    - "colour" is the means of the feature maps that the bundled model ``photos-upscale2`` computes to enlarge
      photographs, of images at 64x64. They describe colours, edges and textures, not what is shown.

    A TorchScript module is used by the convention of NVIDIA's ``inception-2015-12-05.pt``: it takes uint8 RGB images
    (B, 3, H, W) of any size, resizes them itself, and returns (B, F) or (B, F, 1, 1). If its ``forward`` has an
    argument ``return_features``, it is set to True. Grey images are repeated in all three channels.

    Args:
        place: "grey", "colour", or the file of a TorchScript module, which is a program; load only files that you
            trust.
    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is something else; or on use, if the module does not follow the convention.
    References:
        Karras et al. 2020, arXiv:2006.06676, whose code introduced the convention.
    """
    if place in ("grey", "colour"):
        return (_grey if place == "grey" else _colour)(torch.device(device))
    path = Path(place)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; --features takes grey, colour, or a TorchScript module")
    return _torchscript(path, torch.device(device))


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


def _grey(device: torch.device) -> FeatureExtractor:
    content, network = WEIGHTS.read_bytes(), FashionCNN()
    network.load_state_dict(load(content))
    network.eval().to(device)

    def extract(images: Tensor) -> Tensor:
        if images.shape[1] != 1:
            raise ValueError(f"{GREY} supports only grey images; use another extractor for colour")
        grey = torch.from_numpy(convert_array(images.cpu().numpy(), (1, GREY_SIDE, GREY_SIDE), "stretch"))
        return network.features(grey.to(device).float() / 255)

    digest = hashlib.sha256(content).hexdigest()
    return FeatureExtractor(GREY, "Fashion-MNIST", "grey, 28x28 by Lanczos", digest, extract)


def _colour(device: torch.device) -> FeatureExtractor:
    stored = StoredModel(ENLARGER)
    network = stored.load(device).freeze().conditioning

    def extract(images: Tensor) -> Tensor:
        resized = torch.from_numpy(convert_array(images.cpu().numpy(), (3, COLOUR_SIDE, COLOUR_SIDE), "stretch"))
        return torch.cat([maps.mean([2, 3]) for maps in network(resized.to(device))], dim=1)

    return FeatureExtractor(ENLARGER, "photographs", "RGB, 64x64 by Lanczos", stored.hash, extract)


def _torchscript(path: Path, device: torch.device) -> FeatureExtractor:
    try:
        # torch deprecates TorchScript, but the weights exist only in this format.
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            module = torch.jit.load(str(path), map_location=device).eval()
        arguments = [argument.name for argument in module.forward.schema.arguments]
    except (RuntimeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as a TorchScript module ({reason}); download it again") from error
    options = {"return_features": True} if "return_features" in arguments else {}

    def extract(images: Tensor) -> Tensor:
        rgb = images.expand(-1, 3, -1, -1).to(device)
        try:
            features = module(rgb, **options)
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"{path.name} fails on uint8 RGB images {tuple(rgb.shape)}: {reason}") from error
        if not isinstance(features, Tensor) or len(features) != len(images) or features[0].numel() != features.shape[1]:
            output = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"{path.name} returns {output} for {len(images)} images; expected ({len(images)}, F)")
        return features.flatten(1)

    return FeatureExtractor(path.name, "unknown data", "the module's own", sha256_of(path), extract)
