"""What all comparisons of features refuse."""

from torch import Tensor

__all__ = ["check_features"]


def check_features(real: Tensor, drawn: Tensor, least: int) -> None:
    """Raise unless two sets of features can be compared.

    Args:
        real: (N, F).
        drawn: (M, F).
        least: How many are needed of each.
    Raises:
        ValueError: If there are fewer of either, their widths differ, or one is not finite.
    """
    for features, noun in ((real, "real"), (drawn, "drawn")):
        if features.ndim != 2 or len(features) < least:
            shape = tuple(features.shape)
            raise ValueError(f"features of {noun} images are {shape}; expected (N, F) with at least {least} images")
        if not bool(features.isfinite().all()):
            raise ValueError(f"features of {noun} images are not finite; the extractor does not suit them")
    if real.shape[1] != drawn.shape[1]:
        raise ValueError(f"features are {real.shape[1]} and {drawn.shape[1]} wide; expected one extractor for both")
