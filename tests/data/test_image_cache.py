import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data import folder, image_cache
from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split

SHAPE = (3, 4, 6)


@pytest.fixture
def root(tmp_path: Path, make_images: Callable[..., Path]) -> Path:
    return make_images(tmp_path / "pictures", 12)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files decoded so far."""
    names: list[str] = []
    decode_image = folder.decode_image

    def spy(path: Path, *options: Any) -> np.ndarray:
        names.append(path.name)
        return decode_image(path, *options)

    monkeypatch.setattr(folder, "decode_image", spy)
    return names


def build(root: Path, **options: Any) -> ImageSet:
    return load_split("folder", "train", SHAPE, root=root, **{"validation_fraction": 0, "test_fraction": 0, **options})


def values(images: ImageSet) -> list[int]:
    return sorted(images.images[:, 0, 0, 0].tolist())


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "glow-cache").iterdir())


def test_decoded_once_for_all_splits_and_seeds(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    before = torch.get_rng_state()
    for seed in range(2):
        for split in ("train", "validation", "test"):
            load_split("folder", split, SHAPE, root=root, seed=seed)
    assert sorted(decoded) == sorted(path.name for path in root.iterdir())
    assert torch.equal(torch.get_rng_state(), before)
    images, manifest = entries(tmp_path)
    assert (images.suffix, manifest.suffix) == (".bin", ".json")
    assert images.stat().st_size == 12 * 3 * 4 * 6
    assert isinstance(build(root)._storage, np.memmap)


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "new file": (lambda root: Image.new("RGB", (6, 4)).save(root / "new.png"), 13),
    "removed": (lambda root: (root / "000.png").unlink(), 11),
    "content": (lambda root: Image.new("RGB", (60, 40), "red").save(root / "000.png"), 12),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_decoded_again(root: Path, decoded: list[str], change: str) -> None:
    build(root)
    decoded.clear()
    apply, count = CHANGES[change]
    apply(root)
    assert len(build(root)) == len(decoded) == count


def test_shape_resize_and_path_have_separate_entries(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    build(root)
    build(root, resize="pad")
    load_split("folder", "train", (1, 4, 6), root=root)
    build(tmp_path / "copy")
    build(root, cache_dir=tmp_path / "other")
    assert len(entries(tmp_path)) == 2 * 4
    assert len(list((tmp_path / "other").iterdir())) == 2


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "truncated": lambda images, manifest: os.truncate(images, images.stat().st_size - 10),
    "no images": lambda images, manifest: images.unlink(),
    "half manifest": lambda images, manifest: os.truncate(manifest, 50),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_rebuilt(root: Path, tmp_path: Path, decoded: list[str], damage: str) -> None:
    build(root)
    DAMAGES[damage](*entries(tmp_path))
    decoded.clear()
    for _ in range(2):
        assert values(build(root)) == list(range(12))
        assert len(decoded) == 12
    assert len(entries(tmp_path)) == 2


def test_an_unwritable_cache_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "glow-cache").write_text("a file where the cache should be")
    with pytest.raises(OSError, match=r"cannot write the image cache \(.*glow-cache.*set data.cache_dir"):
        build(root)


def test_concurrent_builds(root: Path, tmp_path: Path) -> None:
    results: list[ImageSet] = []
    threads = [threading.Thread(target=lambda: results.append(build(root))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [values(result) for result in results] == [list(range(12))] * 4
    assert len(entries(tmp_path)) == 2


def test_processes_and_several_chunks_give_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "0005.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"1 of 13 .*0005\.png"):
        alone = build(root)
    monkeypatch.setattr(image_cache, "_MIN_CHUNKS", 0)
    in_chunks = image_cache.in_chunks
    monkeypatch.setattr(image_cache, "in_chunks", lambda work, count, size, doing: in_chunks(work, count, 5, doing))
    with pytest.warns(UserWarning, match=r"1 of 13 .*0005\.png"):
        assert np.array_equal(build(root, cache_dir=tmp_path / "other").images, alone.images)
