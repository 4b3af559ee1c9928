import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glow_app.data import bulk, cache, load_split
from glow_app.data.listing import list_images

Make = Callable[..., Path]
SHAPE = (3, 4, 6)


@pytest.fixture
def root(tmp_path: Path, make_images: Make) -> Path:
    return make_images(tmp_path / "pictures", 12)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files decoded so far."""
    names: list[str] = []
    decode_image = bulk.decode_image

    def spy(path: Path, **options: Any) -> np.ndarray:
        names.append(path.name)
        return decode_image(path, **options)

    monkeypatch.setattr(bulk, "decode_image", spy)
    return names


def build(root: Path, **options: object) -> cache.DecodedFolder:
    return cache.decoded_folder(list_images(root), SHAPE, "crop", None, **options)


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "glow-cache").iterdir())


def test_decoded_once_for_all_splits_and_seeds(root: Path, decoded: list[str]) -> None:
    for seed in range(2):
        for split in ("train", "validation", "test"):
            load_split("folder", split, SHAPE, root=root, seed=seed)
    assert sorted(decoded) == sorted(path.name for path in root.iterdir())


def test_entry_holds_images_and_manifest(root: Path, tmp_path: Path) -> None:
    folder = build(root)
    (entry,) = entries(tmp_path)
    assert sorted(path.name for path in entry.iterdir()) == ["images.bin", "manifest.json"]
    images = np.memmap(entry / "images.bin", np.uint8, "r", shape=(12, *SHAPE))
    assert np.array_equal(images, folder.images)
    assert images[:, 0, 0, 0].tolist() == list(range(12))
    manifest = json.loads((entry / "manifest.json").read_text())
    files = [f"{value:03d}.png" for value in range(12)]
    assert manifest == {"root": str(root.resolve()), "files": files, "skipped": [], "unread": []}


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "new file": (lambda root: Image.new("RGB", (6, 4)).save(root / "new.png"), 13),
    "removed": (lambda root: (root / "000.png").unlink(), 11),
    "content": (lambda root: Image.new("RGB", (60, 40), "red").save(root / "000.png"), 12),
    "touched": (lambda root: os.utime(root / "000.png", ns=(1, 1)), 12),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_decoded_again(root: Path, decoded: list[str], change: str) -> None:
    build(root)
    decoded.clear()
    apply, count = CHANGES[change]
    apply(root)
    assert len(build(root).names) == len(decoded) == count


def test_shape_and_resize_have_entries_of_their_own(root: Path) -> None:
    listing = list_images(root)
    keys = {cache.cache_key(listing, shape, resize) for shape in (SHAPE, (1, 4, 6)) for resize in ("crop", "pad")}
    assert len(keys) == 4


def test_same_names_sizes_and_times_elsewhere_are_another_entry(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    key = cache.cache_key(list_images(root), SHAPE, "crop")
    assert cache.cache_key(list_images(root), SHAPE, "crop") == key
    assert cache.cache_key(list_images(tmp_path / "copy"), SHAPE, "crop") != key


IMAGES, MANIFEST = "images.bin", "manifest.json"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda entry: os.truncate(entry / IMAGES, (entry / IMAGES).stat().st_size - 10),
    "no images": lambda entry: (entry / IMAGES).unlink(),
    "no manifest": lambda entry: (entry / MANIFEST).unlink(),
    "half manifest": lambda entry: os.truncate(entry / MANIFEST, 50),
    "wrong count": lambda entry: os.truncate(entry / IMAGES, 5 * 3 * 4 * 6),
    "an older version": lambda entry: (entry / IMAGES).rename(entry / "images.npy"),
    "not an array": lambda entry: os.truncate(entry / IMAGES, 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_built_anew(root: Path, tmp_path: Path, decoded: list[str], damage: str) -> None:
    good = np.array(build(root).images)
    (entry,) = entries(tmp_path)
    DAMAGES[damage](entry)
    decoded.clear()
    assert np.array_equal(build(root).images, good)
    assert len(decoded) == 12
    assert entries(tmp_path) == [entry]
    decoded.clear()
    build(root)
    assert not decoded


def test_unwritable_cache_falls_back_to_memory(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    (tmp_path / "glow-cache").write_text("a file where the cache should be")
    with pytest.warns(UserWarning, match=r"cannot write the image cache \(.*set data.cache_dir"):
        folder = build(root)
    assert not isinstance(folder.images, np.memmap)
    assert folder.images[:, 0, 0, 0].tolist() == list(range(12))
    with pytest.warns(UserWarning, match="cannot write the image cache"):
        build(root)
    assert len(decoded) == 12


def test_another_builder_that_was_first_wins(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_listing = cache.decode_listing

    def meanwhile(*args: object) -> object:
        monkeypatch.setattr(cache, "decode_listing", decode_listing)
        build(root)
        return decode_listing(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "decode_listing", meanwhile)
    assert len(build(root).names) == 12
    assert len(entries(tmp_path)) == 1


def test_builders_at_once(root: Path, tmp_path: Path) -> None:
    results: list[cache.DecodedFolder] = []
    threads = [threading.Thread(target=lambda: results.append(build(root))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.images[:, 0, 0, 0].tolist() for result in results] == [list(range(12))] * 4
    assert len(entries(tmp_path)) == 1


def test_interrupted_build_leaves_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk, "decode_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(root)
    assert entries(tmp_path) == []


def test_what_a_killed_build_left_is_removed_by_the_next(root: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from glow_app.data import bulk, cache; from glow_app.data.listing "
        "import list_images; bulk.decode_image = lambda *_, **__: os.kill(os.getpid(), 9); "
        f"cache.decoded_folder(list_images(Path(sys.argv[1])), {SHAPE}, 'crop', None)"
    )
    subprocess.run([sys.executable, "-c", code, root], check=False)
    (left,) = entries(tmp_path)
    build(root)
    (entry,) = entries(tmp_path)
    assert left.name.startswith(f".{entry.name}-")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_was_not_read_is_taken_once_it_can_be(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    decode_image = bulk.decode_image

    def refuse(path: Path, **options: Any) -> np.ndarray:
        if path.name == "003.png":
            raise OSError(number, os.strerror(number), str(path))
        return decode_image(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "decode_image", refuse)
        with pytest.warns(UserWarning, match=r"1 of 12 .* 003\.png"):
            assert len(build(root).names) == 11
    assert len(build(root).names) == 12


def test_files_that_stay_broken_or_away_cost_no_second_decoding(root: Path, decoded: list[str]) -> None:
    (root / "away.png").symlink_to("nowhere")
    Image.effect_noise((40, 40), 50).save(root / "broken.png")
    os.truncate(root / "broken.png", 500)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"2 of 14 .* away\.png .*; broken\.png"):
            assert len(build(root).names) == 12
    assert len(decoded) == 14


def test_cache_dir_argument(root: Path, tmp_path: Path) -> None:
    load_split("folder", "train", SHAPE, root=root, cache_dir=tmp_path / "mine")
    assert len(list((tmp_path / "mine").iterdir())) == 1
    assert not (tmp_path / "glow-cache").exists()


def test_processes_and_several_chunks_give_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "0005.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="1 of 13"):
        alone = build(root)
    monkeypatch.setattr(bulk, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(bulk, "_CHUNK_BYTES", 5 * 3 * 4 * 6)
    chunks = list(bulk.decode_listing(list_images(root), SHAPE, "crop"))
    assert len(chunks) == 3
    assert np.array_equal(np.stack([image for chunk in chunks for image in chunk.values]), alone.images)
    assert tuple(name for chunk in chunks for name in chunk.names) == alone.names
    assert [name for chunk in chunks for name, _ in chunk.skipped] == ["0005.png"]


def test_decoding_leaves_the_global_random_state_alone(root: Path) -> None:
    import torch

    before = torch.get_rng_state()
    build(root)
    assert torch.equal(torch.get_rng_state(), before)
