from pathlib import Path

import pytest
from registry import tiny_model

from glow_app.storage import places
from glow_app.storage.pretrained import load_pretrained, model_hash, save_pretrained
from glow_app.storage.stored_model import StoredModel, load_model

MEGABYTE = 2**20


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_bundled_model_is_whole_small_and_described() -> None:
    assert places.DEFAULT_MODEL in places.bundled_models()
    for name in places.bundled_models():
        model = load_model(name)
        assert model_hash(load_pretrained(name)) == model_hash(model)
        folder = StoredModel(name).path
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        assert [file.name for file in files if file.parent == folder] == [
            "README.md",
            "config.json",
            "model.safetensors",
        ]
        assert {file.parent.name for file in files if file.parent != folder} <= {"directions"}
        assert sum(file.stat().st_size for file in files) < 8 * MEGABYTE
        card = (folder / "README.md").read_text()
        for words in ("licence", "configs/", "commit", "machine", "test bits/dim", "## Meant for", "## Limits"):
            assert words in card
        assert len(model.class_names) == (model.flow.num_classes or 0)
        assert all(class_name in card for class_name in model.class_names)


def test_a_folder_of_ones_own_goes_before_a_bundled_model_of_its_name() -> None:
    bundled = StoredModel(places.DEFAULT_MODEL).path
    Path(places.DEFAULT_MODEL).mkdir()
    assert StoredModel(places.DEFAULT_MODEL).path == bundled  # a folder of pictures is no model
    mine = save_pretrained(tiny_model(), places.DEFAULT_MODEL, overwrite=True)
    assert StoredModel(places.DEFAULT_MODEL).path == mine
    for load in (load_model, load_pretrained):
        assert model_hash(load(places.DEFAULT_MODEL)) == model_hash(tiny_model())


def test_other_names_are_paths(tmp_path: Path) -> None:
    for name in ("", ".", "..", "../models/fashion-mnist", "fashion-mnist/", "README.md", "fashion-mnist/config.json"):
        assert places.find_folder(name) is None
    assert StoredModel(save_pretrained(tiny_model(), tmp_path / "mine", {"epoch": 1})).facts == {"epoch": 1}


@pytest.mark.parametrize("load", [load_model, load_pretrained])
def test_what_may_have_been_meant(load: object) -> None:
    def message(name: str) -> str:
        with pytest.raises(FileNotFoundError) as caught:
            load(name)  # type: ignore[operator]
        return str(caught.value)

    assert message("fashion-mnits").endswith("; did you mean fashion-mnist?")
    assert message("some-user/shoes").endswith("write hf://some-user/shoes")
    assert message("some-user/shoes@v2").endswith("write hf://some-user/shoes@v2")
    for path in ("/somewhere/else", "runs/mine/TIME", "runs/best.ckpt", "nothing"):
        assert "hf://" not in message(path)
        assert path in message(path)
