"""The shape checks that the bijections share."""

from torch import Tensor

__all__ = ["require_image", "require_vector"]


def require_image(name: str, x: Tensor, num_channels: int | None = None) -> None:
    """Refuse what is not a batch of images.

    Args:
        name: The bijection, for the message.
        x: Its input.
        num_channels: Channels that it was built for; any if None.

    Raises:
        ValueError: If ``x`` is not (B, C, H, W) with the right C.
    """
    if x.ndim != 4 or (num_channels is not None and x.shape[1] != num_channels):
        channels = "C" if num_channels is None else num_channels
        raise ValueError(f"{name} expects shape (B, {channels}, H, W), got {tuple(x.shape)}")


def require_vector(name: str, x: Tensor, num_features: int) -> None:
    """Refuse what is not a batch of vectors.

    Args:
        name: The bijection, for the message.
        x: Its input.
        num_features: Values that it was built for.

    Raises:
        ValueError: If ``x`` is not (B, num_features).
    """
    if x.ndim != 2 or x.shape[1] != num_features:
        raise ValueError(f"{name} expects shape (B, {num_features}), got {tuple(x.shape)}")
