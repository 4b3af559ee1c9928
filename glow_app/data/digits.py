"""scikit-learn's embedded handwritten digits: a data set that needs no download."""

import warnings

import numpy as np
import torch

from glow_app.data.base import ImageSet, choose
from glow_app.data.request import SplitRequest


def load_digits_split(request: SplitRequest) -> ImageSet:
    """Load one split of the 1,797 digits, 8x8 grey.

    The original digits have 17 levels, 0 to 16, one too many for 4 bits. Level 16 (9.1% of all pixels) is merged into
    15, and pixels are stored as ``min(level, 15) * 17``: the 16 values that 4-bit quantisation of 0..255 distinguishes.

    Raises:
        ValueError: If scikit-learn is not installed.
    """
    if request.root is not None:
        warnings.warn("source 'digits' reads no files: --data.root is ignored", stacklevel=2)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("source 'digits' needs scikit-learn; run: pip install 'glow-app[demo]'") from error
    digits = load_digits()
    images = (np.minimum(digits.images, 15) * 17).astype(np.uint8)[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    return choose(ImageSet(images, labels, [str(name) for name in digits.target_names]), request)
