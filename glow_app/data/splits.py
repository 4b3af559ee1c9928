"""Select the requested split from a pool of images."""

from collections.abc import Container

from glow_app.data.base import ImageSet
from glow_app.data.request import SplitRequest
from glow_app.data.resizing import convert_array


def choose(pool: ImageSet, request: SplitRequest, official: Container[str] = ()) -> ImageSet:
    """Return the requested split of a pool, at the requested shape and up to the limit.

    Args:
        pool: Images of the split if it is official, otherwise the images to cut into splits.
        request: Split to return.
        official: As for :meth:`~glow_app.data.request.Cut.rows`.
    """
    chosen = pool.subset(request.rows(len(pool), request.split, official)[: request.limit])
    if chosen.image_shape == request.image_shape:
        return chosen
    images = convert_array(chosen.images, request.image_shape, request.resize)
    return ImageSet(images, chosen.labels, chosen.class_names, contents=chosen.contents)
