"""Rendered faces as a source: a set of coloured pictures that needs no download."""

import torch

from glow_app.data.base import ImageSet
from glow_app.data.faces.rendered import rendered_faces
from glow_app.data.request import SplitRequest
from glow_app.data.splits import choose

USUAL_COUNT = 10_000
# The set is one as MNIST is one: the request's seed cuts it, and does not draw other people.
SEED = 0


def load_faces(request: SplitRequest) -> ImageSet:
    """Load one split of the rendered faces, cut by the two fractions.

    Every face is rendered once, in colour, at the longer side (with ``resize="pad"`` the shorter one), and kept in the
    cache; grey and other shapes come from these.

    Args:
        request: What to load; ``count`` is how many faces there are, of all splits together.
    Raises:
        ValueError: If a package is missing.
    """
    sides = request.image_shape[1:]
    side = min(sides) if request.resize == "pad" else max(sides)
    count = request.count or USUAL_COUNT
    images = rendered_faces(SEED, count, side, request.cache_dir)
    pool = ImageSet(images, torch.zeros(len(images), dtype=torch.int64))
    return choose(pool.subset(range(count)), request)
