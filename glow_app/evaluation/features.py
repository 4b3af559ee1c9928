"""Feature extractors: the one of the package, or the user's own by its path. Nothing is ever fetched."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from glow_app.evaluation.inception import InceptionFeatures
from glow_app.evaluation.small_features import SmallFeatures
from glow_app.evaluation.torchscript import TorchScriptFeatures

__all__ = ["FeatureExtractor", "feature_facts", "load_features"]


class FeatureExtractor(Protocol):
    """What turns images into features whose distances mean something.

    Attributes:
        name: What figures are quoted with.
        trained_on: Of which kind of images the features can tell something.
        preprocessing: What happens to the images first.
        sha256: Of the weights' file.
    Shape:
        images: (B, 1 or 3, H, W), uint8; features: (B, F), float32, on the CPU.
    """

    name: str
    trained_on: str
    preprocessing: str
    sha256: str

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features."""


def feature_facts(extract: FeatureExtractor, num_features: int) -> dict[str, Any]:
    """Return what figures made of an extractor's features have to name, as plain types."""
    facts = {name: getattr(extract, name) for name in ("name", "trained_on", "sha256", "preprocessing")}
    return facts | {"num_features": num_features}


def load_features(
    place: str | Path = "small", device: torch.device | str = "cpu", trust: bool = False
) -> FeatureExtractor:
    """Return a feature extractor.

    Args:
        place: "small" for :class:`SmallFeatures`; the file of a TorchScript module for :class:`TorchScriptFeatures`; or
            a file of weights of torchvision's ``inception_v3`` for :class:`InceptionFeatures`.
        device: Where to compute.
        trust: Whether a TorchScript module, which is a program, may run.
    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, or a program that is not trusted.
    """
    if place == "small":
        return SmallFeatures(device)
    path = Path(place)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; --features takes small, or a file of weights")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not _is_torchscript(path):
        return InceptionFeatures(path, sha256, device)
    if not trust:
        raise ValueError(
            f"{path} is a TorchScript program, which could do harm; if you trust where it comes from, pass "
            f"--trust-features (sha256 {sha256})"
        )
    return TorchScriptFeatures(path, sha256, device)


def _is_torchscript(path: Path) -> bool:
    """Both are zip archives; that of a program holds its code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).parts[1:2] == ("code",) for name in archive.namelist())
