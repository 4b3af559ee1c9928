import pickle
from pathlib import Path

import numpy as np
import torch

from glow_app.data.image_set import ImageSet


def numbered(count: int = 10) -> ImageSet:
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 4), dtype=np.uint8)
    return ImageSet(images, torch.arange(count) % 3, ("a", "b", "c"))


def values(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_subset_of_subset_keeps_order_and_storage() -> None:
    whole = numbered()
    part = whole.subset([7, 3, 5]).subset([2, 0])
    assert len(part) == 2
    assert part.labels.tolist() == [2, 1]
    assert part.images[:, 0, 0, 0].tolist() == [5, 7]
    assert values(part.__getitems__([-1, 0])[0]) == [7, 5]
    assert part.class_names == whole.class_names
    assert part._storage is whole._storage
    assert repr(part) == "ImageSet(2 images of (3, 2, 4), 3 classes)"


def test_classes_in_another_order_keep_their_images() -> None:
    whole = numbered()
    part = whole.subset([7, 3, 5])
    other = part.with_class_order(whole.class_names[::-1])
    names = [part.class_names[label] for label in part.labels]
    assert [other.class_names[label] for label in other.labels] == names
    assert other.class_names == whole.class_names[::-1]
    assert other.images[:, 0, 0, 0].tolist() == [7, 3, 5]
    assert other._storage is whole._storage
    assert part.with_class_order(part.class_names) is part


def test_batches_are_copies() -> None:
    whole = numbered()
    images, _ = whole.__getitems__([0, 1])
    images += 100
    image, _ = whole[0]
    image += 100
    assert (whole.images[0] == 0).all()


def test_memory_map_is_pickled_by_reference(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (500, 3, 8, 8), dtype=np.uint8))
    mapped = ImageSet(np.load(path, mmap_mode="r"), torch.zeros(500, dtype=torch.int64)).subset(np.arange(100, 200))
    packed = pickle.dumps(mapped)
    assert len(packed) < 10_000
    again = pickle.loads(packed)
    assert np.array_equal(again.images, mapped.images)
