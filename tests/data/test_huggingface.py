"""Data sets of Hugging Face `datasets`, without a network: folders of Parquet, of WebDataset, and of `save_to_disk`."""

import io
import pickle
import tarfile
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split
from lightning_modules.resumable_data import train_loader

SHAPE = (3, 4, 6)
TRAIN, TEST = range(30), range(100, 105)


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def rows_of(values: range, feature: object = None) -> datasets.Dataset:
    images = [{"bytes": png(value), "path": None} for value in values]
    columns = {"text": ["x"] * len(images), "picture": images, "kind": [value % 2 for value in values]}
    kinds = feature or datasets.ClassLabel(names=["even", "odd"])
    features = {"text": datasets.Value("string"), "picture": datasets.Image(), "kind": kinds}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def write_parquet(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    for number in range(3):
        part = rows_of(TRAIN[10 * number : 10 * number + 10])
        part.to_parquet(folder / f"data/train-{number:05d}-of-00003.parquet")
    rows_of(TEST).to_parquet(folder / "data/test-00000-of-00001.parquet")


def write_saved(folder: Path) -> None:
    datasets.DatasetDict({"train": rows_of(TRAIN), "test": rows_of(TEST)}).save_to_disk(folder)


def write_tars(folder: Path) -> None:
    folder.mkdir()
    for name, values in (("train-0", TRAIN[:15]), ("train-1", TRAIN[15:]), ("test-0", TEST)):
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for value in values:
                for suffix, content in (("png", png(value)), ("cls", str(value % 2).encode())):
                    member = tarfile.TarInfo(f"{value:05d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


LAYOUTS = {"parquet": write_parquet, "save_to_disk": write_saved, "webdataset": write_tars}


@pytest.fixture(scope="module", params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / request.param
    LAYOUTS[request.param](path)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf")
    datasets.disable_progress_bars()


def load(folder: Path, split: str = "train", **options: object) -> ImageSet:
    return load_split("datasets", split, SHAPE, root=folder, **options)  # type: ignore[arg-type]


def values(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_splits_images_and_labels(folder: Path) -> None:
    parts = {split: load(folder, split) for split in ("train", "validation", "test")}
    read = {split: values(part.images) for split, part in parts.items()}
    assert [len(part) for part in read.values()] == [27, 3, 5]
    assert sorted(read["train"] + read["validation"]) == list(TRAIN)
    assert sorted(read["test"]) == list(TEST)
    assert all(part.labels.tolist() == [value % 2 for value in read[split]] for split, part in parts.items())
    assert parts["train"].class_names == (("0", "1") if folder.name == "webdataset" else ("even", "odd"))
    assert values(load(folder, limit=4).images) == read["train"][:4]
    assert load_split("datasets", "train", (1, 2, 2), root=folder).image_shape == (1, 2, 2)


def test_a_packed_folder_has_the_splits_of_the_folder(tmp_path: Path) -> None:
    rows = []
    for value in range(60):
        name = f"{'odd' if value % 2 else 'even'}/{value // 2:02d}.png"  # each name in both classes
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(png(value))
        rows.append({"picture": {"bytes": png(value), "path": Path(name).name}, "kind": value % 2})
    with tarfile.open(tmp_path / "tar.tar", "w") as tar:
        tar.add(tmp_path / "plain", "")
    (tmp_path / "tars").mkdir()
    (tmp_path / "tar.tar").rename(tmp_path / "tars/train.tar")
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["even", "odd"])}
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).save_to_disk(tmp_path / "saved")
    for split in ("train", "validation", "test"):
        plain = load_split("folder", split, SHAPE, root=tmp_path / "plain", cache_dir=tmp_path / "cache")
        for packed in ("saved", "tars"):
            assert values(load(tmp_path / packed, split).images) == values(plain.images), packed


def test_two_ranks_of_two_workers_see_every_image_once_and_resume_within_an_epoch(folder: Path) -> None:
    images = load(folder, validation_fraction=0.0)

    def seen(rank: int, num_workers: int, served: int = 0) -> list[int]:
        loader = train_loader(images, 5, num_replicas=2, rank=rank, num_workers=num_workers)
        loader.load_state_dict({"epoch": 0, "served": served})
        return [value for batch, _ in loader for value in batch[:, 0, 0, 0].tolist()]

    ranks = [seen(rank, num_workers=0) for rank in range(2)]
    assert sorted(chain(*ranks)) == list(TRAIN)
    assert seen(1, num_workers=2, served=1) == ranks[1][5:]


def test_workers_receive_no_images(folder: Path) -> None:
    images = load(folder)
    packed = pickle.dumps(images)
    assert values(pickle.loads(packed).images) == values(images.images)
    if folder.name == "parquet":
        big = folder.parent / "many"
        datasets.concatenate_datasets([rows_of(TRAIN)] * 40).save_to_disk(big)
        assert len(pickle.dumps(load(big))) < len(packed) + 40 * 30 * 16 + 10_000  # rows and labels


def test_without_usable_labels(tmp_path: Path) -> None:
    rows_of(TRAIN).remove_columns("kind").save_to_disk(tmp_path / "plain")
    unknown = rows_of(TRAIN).map(lambda row: {"kind": -1 if row["kind"] else 0})
    unknown.save_to_disk(tmp_path / "unknown")
    for name in ("plain", "unknown"):
        images = load(tmp_path / name)
        assert images.class_names == ()
        assert not images.labels.any()
        assert len(load(tmp_path / name, "test")) == 3


def test_the_next_image_and_its_label_replace_a_damaged_one(tmp_path: Path) -> None:
    def spoil(row: dict, index: int) -> dict:
        return {"picture": {"bytes": b"x", "path": None} if index in (3, 4) else row["picture"]}

    plain = rows_of(TRAIN).cast_column("picture", datasets.Image(decode=False))
    plain.map(spoil, with_indices=True).cast_column("picture", datasets.Image()).save_to_disk(tmp_path / "few")
    images = load(tmp_path / "few")
    with pytest.warns(UserWarning, match=r"image [34] cannot be read .*; using the next image"):
        read = images.images
    assert not {3, 4} & set(values(read))
    labels = [images.__getitems__([index]) for index in range(len(images))]
    assert all(int(label) == int(image[0, 0, 0, 0]) % 2 for image, label in labels)


def test_unreadable_data_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load(tmp_path / "nowhere")
    rows_of(TRAIN).remove_columns("picture").save_to_disk(tmp_path / "words")
    with pytest.raises(ValueError, match="has no column of images, only text, kind"):
        load(tmp_path / "words")
    with pytest.raises(ValueError, match=r"hf://nobody/nothing cannot be read: "):
        load_split("hf://nobody/nothing", "train", SHAPE)
