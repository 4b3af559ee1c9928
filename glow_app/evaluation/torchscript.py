"""Features from a TorchScript module, such as the Inception network that most published FID figures are taken with."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["TorchScriptFeatures"]


class TorchScriptFeatures:
    """The features of a TorchScript module, by the convention of NVIDIA's ``inception-2015-12-05.pt``.

    The module is called with uint8 RGB images (B, 3, H, W) of their own size, which it resizes itself, and returns
    (B, F) or (B, F, 1, 1). If its ``forward`` takes an argument ``return_features``, that is True. A grey image is
    repeated in all three channels.

    Args:
        path: The file. It holds a program: load none that you do not trust.
        sha256: Of the file.
        device: Where to compute.
    Shape:
        images: (B, 1 or 3, H, W), uint8; features: (B, F), float32, on the CPU.
    Raises:
        ValueError: If it cannot be read, or on use, if it does not follow the convention.
    References:
        Karras et al. 2021, arXiv:2106.12423, whose metrics brought the convention.
    """

    trained_on = "what its file does not say"
    preprocessing = "the module's own"

    def __init__(self, path: Path, sha256: str, device: torch.device | str = "cpu") -> None:
        self.name = path.name
        self.sha256 = sha256
        self.device = torch.device(device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of a format that the weights exist in
                self.module = torch.jit.load(str(path), map_location=self.device).eval()
            arguments = [argument.name for argument in self.module.forward.schema.arguments]
        except (RuntimeError, ValueError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} cannot be read as a TorchScript module ({reason}); fetch it again") from error
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
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"{self.name} returns {found} for {len(images)} images; expected ({len(images)}, F)")
        return features.flatten(1).float().cpu()
