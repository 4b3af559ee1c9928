"""Bundled models, and models on the hub, with its real cache and simulated answers."""

import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from registry import tiny_model

from glow_app.storage import model_folders
from glow_app.storage.pretrained import push_to_hub, save_pretrained
from glow_app.storage.stored_model import StoredModel, from_pretrained, load_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def empty_and_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield
    model_folders.fetch_model.cache_clear()
    model_folders.origin.cache_clear()


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A model in the hub's cache: me/shoes, whose branch main is at COMMIT."""
    repository = tmp_path / "hub/models--me--shoes"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    return save_pretrained(tiny_model(), repository / "snapshots" / COMMIT, {"epoch": 3})


def refusal(error: type[Exception], address: str = "hf://me/shoes") -> str:
    with pytest.raises(error) as caught:
        load_model(address)
    message = str(caught.value)
    assert "\n" not in message
    assert address in message
    return message


def test_every_bundled_model_is_whole_small_and_described() -> None:
    assert model_folders.DEFAULT_MODEL in model_folders.bundled_models()
    for name, folder in model_folders.bundled_models().items():
        model = load_model(name)
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {path.name for path in folder.iterdir()} - {"directions"} == {
            "README.md",
            "config.json",
            "model.safetensors",
        }
        assert sum(file.stat().st_size for file in files) < 8 << 20
        card = (folder / "README.md").read_text()
        for text in ("licence", "configs/", "commit", "machine", "test bits/dim", "## Intended use", "## Limits"):
            assert text in card
        assert all(name in card for name in getattr(model.conditioning, "names", ()))


def test_a_local_model_takes_precedence_over_a_bundled_one() -> None:
    bundled = StoredModel(model_folders.DEFAULT_MODEL).path
    Path(model_folders.DEFAULT_MODEL).mkdir()
    assert StoredModel(model_folders.DEFAULT_MODEL).path == bundled  # a folder of pictures is no model
    local = save_pretrained(tiny_model(), model_folders.DEFAULT_MODEL, overwrite=True)
    assert StoredModel(model_folders.DEFAULT_MODEL).path == local


def test_other_names_are_paths() -> None:
    for name in (".", "..", "../models/fashion-mnist", "fashion-mnist/", "README.md", "fashion-mnist/config.json"):
        assert model_folders.find_folder(name) is None
    assert refusal(FileNotFoundError, "fashion-mnits").endswith("; did you mean fashion-mnist?")
    for name in ("some-user/shoes", "some-user/shoes@v2"):
        assert refusal(FileNotFoundError, name).endswith(f"write hf://{name}")
    for path in ("/somewhere/else", "runs/mine/TIME", "runs/best.ckpt", "nothing"):
        assert "hf://" not in refusal(FileNotFoundError, path)


@pytest.mark.parametrize("address", ["hf://me/shoes", "hf://me/shoes@main", f"hf://me/shoes@{COMMIT}"])
def test_a_model_is_read_from_the_cache(snapshot: Path, address: str) -> None:
    assert load_model(address).hash == tiny_model().hash
    assert StoredModel(address).path == snapshot
    sha256 = hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()
    origin = {"hub": address, "revision": COMMIT, "sha256 of model.safetensors": sha256}
    assert StoredModel(address).facts == {"epoch": 3} | origin
    weights = (snapshot / "model.safetensors").read_bytes()
    (snapshot / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"are not those that config\.json describes"):
        load_model(address)


def test_names_on_the_hub_may_lack_the_prefix(snapshot: Path) -> None:
    assert from_pretrained("me/shoes").hash == from_pretrained(f"me/shoes@{COMMIT}").hash == tiny_model().hash
    other = tiny_model(num_classes=2)
    save_pretrained(other, "me/shoes")
    assert from_pretrained("me/shoes").hash == other.hash


def test_a_model_is_uploaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"hf://me shoes cannot be written \(.*hf auth login"):
        push_to_hub(tiny_model(), "me shoes")
    done: list[object] = []

    def upload(repo_id: str, folder_path: Path, commit_message: str) -> None:
        done.append((repo_id, load_model(folder_path).hash, sorted(path.name for path in folder_path.iterdir())))

    monkeypatch.setattr(huggingface_hub, "create_repo", lambda *name, **options: done.append((*name, options)))
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload)
    assert push_to_hub(tiny_model(), "me/shoes", private=True) == "hf://me/shoes"
    assert done == [
        ("me/shoes", {"private": True, "exist_ok": True}),
        ("me/shoes", tiny_model().hash, ["config.json", "model.safetensors"]),
    ]


def test_two_files_of_one_commit_are_fetched(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []

    def download(name: str, file: str, revision: str | None = None) -> str:
        requests.append((name, file, revision))
        return str(snapshot / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    load_model("hf://me/shoes@v2")
    assert requests == [("me/shoes", "config.json", "v2"), ("me/shoes", "model.safetensors", COMMIT)]
    model_folders.fetch_model.cache_clear()
    (snapshot / "config.json").write_text('{"model_type": "bert"}')
    assert "is not a model that glow export wrote" in refusal(ValueError)
    assert len(requests) == 3  # not the weights of another project


def test_invalid_addresses() -> None:
    for name in ("", "a/b/c", "me/..", "me/shoes--", "../../etc", "me/sh oes"):
        assert "expected hf://USER/NAME[@REVISION]" in refusal(ValueError, f"hf://{name}")


@pytest.mark.parametrize("error", [errors.GatedRepoError, errors.EntryNotFoundError, ConnectionResetError])
def test_errors_of_the_hub(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def download(*arguments: Any, **options: Any) -> str:
        logging.getLogger("huggingface_hub").warning("Retrying in 1s [Retry 1/5].")
        answer = error.__new__(error)  # without the response of the hub, which is not used
        Exception.__init__(answer, "404 Client Error.\n\nOf many lines.")
        raise answer

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert re.search("cannot be fetched.*404 Client Error. Of many lines.*hf auth login", refusal(ValueError))
    assert capfd.readouterr().err == ""


def test_without_a_network_or_the_package(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("hf://me/hats", "hf://me/shoes@v2"):
        assert "is not in the hub's cache" in refusal(ValueError, address)
    (snapshot / "model.safetensors").unlink()
    assert "is not in the hub's cache" in refusal(ValueError)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert "pip install 'glow-app[hub]'" in refusal(ValueError)
