"""Data sets of the hub: a folder of Parquet files is read as one there is, but without a network."""

import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow
import pytest
from huggingface_hub import HfApi
from PIL import Image
from pyarrow import parquet
from traced_memory import memory_below

from glow_app.data import ImageSet, load_split, train_loader
from glow_app.data.sharded_images import ShardError

SHAPE = (3, 4, 6)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))


def write(path: Path, values: Sequence[int], labels: Sequence[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = []
    for value in values:
        file = io.BytesIO()
        Image.fromarray(np.full((4, 6, 3), value, dtype=np.uint8)).save(file, format="PNG")
        contents.append({"bytes": file.getvalue(), "path": None})
    columns: dict[str, list] = {"text": ["x"] * len(values), "picture": contents}
    features = {"text": datasets.Value("string"), "picture": datasets.Image()}
    if labels is not None:
        columns["kind"], features["kind"] = list(labels), datasets.ClassLabel(names=["even", "odd"])
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(str(path), batch_size=4)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    for number in range(3):
        values = range(10 * number, 10 * number + 10)
        write(tmp_path / f"set/data/train-{number:05d}-of-00003.parquet", values, [value % 2 for value in values])
    write(tmp_path / "set/data/test-00000-of-00001.parquet", range(100, 105), [value % 2 for value in range(100, 105)])
    return tmp_path / "set"


def load(folder: Path, split: str = "train", **options: object) -> ImageSet:
    return load_split(f"hf://{folder}", split, SHAPE, **options)  # type: ignore[arg-type]


def test_splits_images_and_labels(hub: Path) -> None:
    parts = {split: load(hub, split) for split in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [27, 3, 5]
    values = {split: part.images[:, 0, 0, 0].tolist() for split, part in parts.items()}
    assert sorted(values["train"] + values["validation"]) == list(range(30))
    assert values["test"] == list(range(100, 105))
    assert all(part.labels.tolist() == [v % 2 for v in values[split]] for split, part in parts.items())
    assert parts["train"].class_names == ("even", "odd")


def test_two_ranks_of_two_workers_see_every_image_once(hub: Path) -> None:
    images = load(hub, validation_fraction=0.0)
    seen = []
    for rank in range(2):
        for batch, _ in train_loader(images, 5, num_replicas=2, rank=rank, num_workers=2):
            seen += batch[:, 0, 0, 0].tolist()
    assert sorted(seen) == list(range(30))


def test_a_file_is_fetched_when_it_is_wanted(hub: Path, tmp_path: Path) -> None:
    def kept() -> int:
        return len([path for path in (tmp_path / "kept/shards").glob("*") if path.is_file() and not path.suffix])

    images = load(hub, cache_dir=tmp_path / "kept", validation_fraction=0.0)
    assert kept() == 0
    images.head(1)
    assert kept() == 1
    _ = images.images
    assert kept() == 3


def test_without_labels(tmp_path: Path) -> None:
    write(tmp_path / "plain/train-00000-of-00001.parquet", range(10))
    images = load(tmp_path / "plain")
    assert images.class_names == ()
    assert not images.labels.any()
    write(tmp_path / "hidden/train-00000-of-00001.parquet", range(10), [-1] * 10)
    assert load(tmp_path / "hidden").class_names == ()


def test_types_that_only_the_description_knows(tmp_path: Path, hub: Path) -> None:
    folder = tmp_path / "plain"
    (folder / "data").mkdir(parents=True)
    for file in hub.rglob("*.parquet"):
        parquet.write_table(parquet.read_table(file).replace_schema_metadata(None), folder / "data" / file.name)
    columns = (
        "text, dtype: string",
        "picture, dtype: image",
        "kind, dtype: {class_label: {names: {'0': even, '1': odd}}}",
    )
    features = "\n".join(f"  - {{name: {column}}}" for column in columns)
    (folder / "README.md").write_text(f"---\ndataset_info:\n  features:\n{features}\n---\n")
    images = load(folder, "test")
    assert images.class_names == ("even", "odd")
    assert images.labels.tolist() == [value % 2 for value in range(100, 105)]
    file = folder / "data/test-00000-of-00001.parquet"
    table = parquet.read_table(file)
    lists = pyarrow.array([[value] for value in table["kind"].to_pylist()])
    parquet.write_table(table.set_column(table.schema.get_field_index("kind"), "kind", lists), file)
    with pytest.raises(ShardError, match=r"has labels of type list<.*> in column kind; expected whole numbers"):
        load(folder, "test")


def test_files_that_do_not_agree(tmp_path: Path) -> None:
    write(tmp_path / "set/train-00000-of-00002.parquet", range(4), [0, 1, 0, 1])
    write(tmp_path / "set/train-00001-of-00002.parquet", range(4))
    with pytest.raises(
        ShardError, match=r"has images in column picture and no classes, and .* 2 classes in column kind"
    ):
        load(tmp_path / "set")


@pytest.mark.parametrize("path", [None, "cats/1.jpg"])
def test_images_that_are_missing_or_elsewhere(tmp_path: Path, path: str | None) -> None:
    file = tmp_path / "set/train-00000-of-00001.parquet"
    write(file, range(6))
    table = parquet.read_table(file)
    field = table.schema.field("picture")
    last = None if path is None else {"bytes": None, "path": path}
    pictures = pyarrow.array([*table["picture"].to_pylist()[:5], last], field.type)
    parquet.write_table(table.set_column(1, field, pictures), file)
    images = load(tmp_path / "set", validation_fraction=0.0, test_fraction=0.0)
    if path is None:
        with pytest.warns(UserWarning, match=r"image 5 of .* the next one stands in"):
            assert images.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 0]
    else:
        with pytest.raises(ShardError, match=r"holds the paths of images, such as cats/1\.jpg, and not their bytes"):
            _ = images.images


def write_copies(file: Path, times: int) -> None:
    """Write the first row of a file so many times, of which the file keeps one."""
    one = parquet.read_table(file).slice(0, 1)
    parquet.write_table(pyarrow.concat_tables([one] * times).combine_chunks(), file)


def test_files_that_hold_more_than_they_weigh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "set/train-00000-of-00001.parquet"
    write(file, range(2), [0, 1])
    write_copies(file, 1_000)
    monkeypatch.setattr("glow_app.data.shards.parquet._UNPACKED", 1000)
    monkeypatch.setattr("glow_app.data.shards.parquet._UNPACKED_TIMES", 3)
    with pytest.raises(ShardError, match=r"holds more than .* bytes of images, 3 times its size"):
        _ = load(tmp_path / "set").images


@pytest.mark.parametrize("is_dictionary", [False, True])
def test_files_that_grow_when_read_are_refused_before_they_take_memory(tmp_path: Path, is_dictionary: bool) -> None:
    file = tmp_path / "set/train-00000-of-00001.parquet"
    write(file, [0])
    (image,) = parquet.read_table(file).column("picture").to_pylist()
    image["bytes"] += bytes(2**21)
    one = parquet.read_table(file).slice(0, 1).drop_columns("picture")
    schema = parquet.read_schema(file)
    column = pyarrow.array([image] * 60, schema.field("picture").type)
    table = pyarrow.concat_tables([one] * 60).append_column("picture", column).select(schema.names)
    options = {"use_dictionary": is_dictionary, "dictionary_pagesize_limit": 2**30}
    parquet.write_table(table.cast(schema), file, compression="zstd", **options)
    assert file.stat().st_size < 2**20
    del table, column, image
    with memory_below(40e6), pytest.raises(ShardError, match=r"holds more than 67,108,864 bytes of images"):
        _ = load(tmp_path / "set").images


@pytest.mark.parametrize("labels", [None, [0, 1]])
@pytest.mark.parametrize("is_forged", [False, True])
def test_rows_are_counted(tmp_path: Path, labels: list[int] | None, is_forged: bool) -> None:
    file = tmp_path / "set/train-00000-of-00001.parquet"
    write(file, range(2), labels)
    write_copies(file, 20_000)
    if is_forged:
        rows, few = b"\xc0\xb8\x02", b"\x94\x80\x00"  # 20,000 and 10 in the footer's encoding
        content = file.read_bytes()
        start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        file.write_bytes(content[:start] + content[start:].replace(rows, few, 1))
        assert parquet.ParquetFile(file).metadata.num_rows == 10
    with pytest.raises(ShardError, match=r"has at least [12]\d?,\d{3} rows in .* bytes; expected images"):
        _ = load(tmp_path / "set").images


CLASSES = "dataset_info: {features: [{name: kind, dtype: {class_label: {names: {'0': a, '9999999999': b}}}}]}"
ALIASES = "a: &a [1, 1, 1, 1]\nb: &b [*a, *a, *a, *a]\ndataset_info: *b"
DESCRIPTIONS = {
    "configs: [{config_name: a, data_files: [{split: train, path: 'http://127.0.0.1:9/x.parquet'}]}]": "names the file",
    "configs: [{config_name: a, data_files: 'reference::x'}]": "names the file 'reference::x'",
    "configs: [{config_name: a, data_files: [{split: train, path: [train*, ../other/x.parquet]}]}]": r"'\.\./other",
    "configs: [{config_name: a, data_files: [/etc/x.parquet]}]": "names the file '/etc/x.parquet'",
    "configs: [{config_name: a, data_dir: ..}]": r"names the file '\.\.'; expected names inside the data set",
    "configs: [{config_name: a, data_files: 'a*a*a*a*a*b'}]": "with 4 wildcards or fewer",
    f"configs: [{{config_name: a, data_files: [{'x, ' * 1001}]}}]": "names files 1,001 times; expected 1,000 or fewer",
    "a: " + "[" * 40_000: "is nested more than 20 deep",
    "a: " + "1:" * 50_000 + "1": "has a number of 100,001 characters",
    "a: !!int '" + "1:" * 50_000 + "1'": "has a number of 100,001 characters",
    "a: !<tag:yaml.org,2002:float> '" + "1: " * 50_000 + "1'": "has a number of 150,001 characters",
    CLASSES: "numbers 2 names, but not from 0 to 1",
    ALIASES: r"has YAML aliases \(\*name\), which may stand for gigabytes",
    "a: " + "x" * (1 << 20): "has 1,048,5[0-9]{2} bytes; expected at most 1,048,576",
}


@pytest.mark.parametrize("is_readme", [True, False])
@pytest.mark.parametrize(("content", "message"), DESCRIPTIONS.items(), ids=[text[:60] for text in DESCRIPTIONS])
def test_descriptions_that_reach_or_grow(hub: Path, content: str, message: str, is_readme: bool) -> None:
    if is_readme:
        (hub / "README.md").write_text(f"---\n{content}\n---\nA set.\n")
    else:
        (hub / ".huggingface.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(hub)


def test_a_description_that_names_its_own_files(hub: Path) -> None:
    (hub / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files:\n  - {split: train, path: data/test-*}\n---\n"
    )
    assert len(load(hub, validation_fraction=0.0, test_fraction=0.0)) == 5
    twice = "---\nconfigs:\n- config_name: a\n  data_files: [data/test-*, data/test*]\n---\n"
    (hub / "README.md").write_text(twice)
    assert len(load(hub, validation_fraction=0.0, test_fraction=0.0)) == 5


def test_the_description_of_a_set_on_the_hub(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text(f"---\n{CLASSES}\n---\n")
    seen = []
    entries = [SimpleNamespace(path="README.md", size=100)]

    def hf_hub_download(_: HfApi, *asked: str, **more: str) -> str:
        seen.append((*asked, *more.values()))
        return str(tmp_path / asked[1])

    monkeypatch.setattr(HfApi, "dataset_info", lambda *asked, **more: SimpleNamespace(sha="c0ffee"))
    monkeypatch.setattr(HfApi, "get_paths_info", lambda *asked, **more: entries)
    monkeypatch.setattr(HfApi, "hf_hub_download", hf_hub_download)
    with pytest.raises(ValueError, match=r"hf://user/set:plain@main cannot be read from the hub: README\.md numbers 2"):
        load_split("hf://user/set:plain@main", "train", SHAPE)
    assert seen == [("user/set", "README.md", "c0ffee", "dataset")]
    entries[0].size = 1 << 30
    with pytest.raises(ValueError, match=r"README\.md has 1,073,741,824 bytes"):
        load_split("hf://user/set", "train", SHAPE)
    assert len(seen) == 1


def test_what_cannot_be_read(tmp_path: Path, hub: Path) -> None:
    with pytest.raises(ValueError, match=r"hf://.*nowhere cannot be read from the hub"):
        load(tmp_path / "nowhere")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"is stored as \.csv, but only Parquet is read"):
        load(tmp_path / "text")
    datasets.Dataset.from_dict({"a": [1, 2]}).to_parquet(str(tmp_path / "numbers/train.parquet"))
    with pytest.raises(ShardError, match="has no column of images, only a"):
        load(tmp_path / "numbers")
    images = load(hub, validation_fraction=0.0)
    torn = hub / "data/train-00000-of-00003.parquet"
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(ShardError, match=r"train-00000-of-00003\.parquet cannot be read"):
        _ = images.images
