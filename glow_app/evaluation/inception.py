"""Features of torchvision's Inception v3."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from glow_app.storage.archive import ArchiveError, check_archive

__all__ = ["InceptionFeatures"]

SIDE = 299
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class InceptionFeatures:
    """The 2048 pooled features of torchvision's ``inception_v3``.

    Images are brought to 299x299 by the bilinear filter with antialiasing and normalised as torchvision's weights want
    it; not cropped as for classification, since a picture's edge counts too. The network differs in its pooling from
    the one of published FID figures: numbers from it compare with numbers from it alone.

    Args:
        path: A state dict, such as ``inception_v3_google-0cc3c7bd.pth``; nothing in it is run.
        sha256: Of the file.
        device: Where to compute.
    Shape:
        images: (B, 1 or 3, H, W), uint8; features: (B, 2048), float32, on the CPU.
    Raises:
        ValueError: If the file is anything else.
    References:
        Szegedy et al. 2015, arXiv:1512.00567.
    """

    trained_on = "ImageNet, if the file is torchvision's"
    preprocessing = "RGB, 299x299 by the bilinear filter with antialiasing, ImageNet's mean and deviation"

    def __init__(self, path: Path, sha256: str, device: torch.device | str = "cpu") -> None:
        from torchvision.models import inception_v3

        self.name = f"torchvision inception_v3 ({path.name})"
        self.sha256 = sha256
        self.device = torch.device(device)
        weights = _read(path)
        # With its weights from Google, torchvision scales the input once more; the state dict does not say so itself.
        self.network = inception_v3(weights=None, transform_input=True, init_weights=False)
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{path} holds other weights than those of torchvision's inception_v3") from error
        self.network.fc = nn.Identity()
        self.network.eval().to(self.device)
        self.mean, self.std = (torch.tensor(one, device=self.device)[:, None, None] for one in (MEAN, STD))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the features."""
        rgb = images.expand(-1, 3, -1, -1).to(self.device).float() / 255
        resized = functional.interpolate(rgb, (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.network((resized - self.mean) / self.std).cpu()


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) == _ZIP:  # by which torch decides as well
                check_archive(file)
            file.seek(0)
            weights = torch.load(file, map_location="cpu", weights_only=True)
    except (ArchiveError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} holds code, which is not run, or no weights at all; {_EXPECTED}") from error
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise ValueError(f"{path} is damaged; {_EXPECTED}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path} is not a state dict; {_EXPECTED}")
    return weights


_ZIP = b"PK\3\4"
_EXPECTED = "expected a TorchScript module, or a state dict of torchvision's inception_v3"
