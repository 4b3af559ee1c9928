"""Models of the hub: of its own library the cache is read, as it lies on a disk; what the hub answers is played."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from registry import tiny_model

from glow_app.storage.hub_models import fetch_model
from glow_app.storage.pretrained import load_pretrained, model_hash, save_pretrained
from glow_app.storage.stored_model import StoredModel, load_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Download = Callable[..., str]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the hub's library have no network, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    fetch_model.cache_clear()
    yield
    fetch_model.cache_clear()


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A model in the hub's cache: me/shoes, whose branch main is at COMMIT."""
    repository = tmp_path / "hub/models--me--shoes"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    return save_pretrained(tiny_model(), repository / "snapshots" / COMMIT, {"epoch": 3})


def refusal(error: type[Exception], address: str = "hf://me/shoes") -> str:
    with pytest.raises(error) as caught:
        load_pretrained(address)
    message = str(caught.value)
    assert "\n" not in message
    assert address in message
    return message


@pytest.mark.parametrize("address", ["hf://me/shoes", "hf://me/shoes@main", f"hf://me/shoes@{COMMIT}"])
def test_a_model_is_read_from_the_cache(snapshot: Path, address: str, caplog: pytest.LogCaptureFixture) -> None:
    sha256 = hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()
    with caplog.at_level(logging.INFO):
        assert model_hash(load_pretrained(address)) == model_hash(tiny_model())
    assert caplog.messages == [f"{address}: revision {COMMIT}, model.safetensors has the SHA-256 {sha256}"]
    assert model_hash(load_model(address)) == model_hash(tiny_model())
    assert StoredModel(address).path == snapshot
    origin = {"hub": address, "revision": COMMIT, "sha256 of model.safetensors": sha256}
    assert StoredModel(address).facts == {"epoch": 3} | origin


def test_a_damaged_copy_is_noticed(snapshot: Path) -> None:
    weights = (snapshot / "model.safetensors").read_bytes()
    (snapshot / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"are not those that config\.json describes"):
        load_pretrained("hf://me/shoes")


def test_two_files_of_one_commit_are_asked_for(snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, file: str, revision: str | None = None) -> str:
        asked.append((name, file, revision))
        return str(snapshot / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    load_model("hf://me/shoes@v2")
    assert StoredModel("hf://me/shoes@v2").facts["revision"] == COMMIT
    assert asked == [("me/shoes", "config.json", "v2"), ("me/shoes", "model.safetensors", COMMIT)]


def test_weights_of_another_project_are_not_fetched(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snapshot / "config.json").write_text('{"model_type": "bert"}')
    (snapshot / "model.safetensors").unlink()
    assert "is not a model that glow export wrote" in refusal(ValueError)


def test_what_is_not_in_the_cache_without_a_network(snapshot: Path) -> None:
    assert "the hub cannot be reached, and config.json is not" in refusal(ValueError, "hf://me/hats")
    assert "cannot be reached" in refusal(ValueError, "hf://me/shoes@v2")
    (snapshot / "model.safetensors").unlink()
    assert "model.safetensors is not in its cache" in refusal(ValueError)
    shutil.rmtree(snapshot)


@pytest.mark.parametrize("name", ["", "a/b/c", "me/..", "me/shoes--", "../../etc", "me/sh oes"])
def test_what_is_no_address(name: str) -> None:
    assert "expected hf://USER/NAME[@REVISION]" in refusal(ValueError, f"hf://{name}")


def answer(error: type[Exception]) -> Exception:
    """Return an error of the hub's library, which wants an answer of the hub that it does not use."""
    made = error.__new__(error)
    Exception.__init__(made, "404 Client Error.\n\nOf many lines.")
    return made


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (errors.RepositoryNotFoundError, FileNotFoundError, "is not on the hub, or is private"),
        (errors.GatedRepoError, FileNotFoundError, "is not on the hub, or is private"),
        (errors.RevisionNotFoundError, FileNotFoundError, "no such revision"),
        (errors.EntryNotFoundError, FileNotFoundError, "has no config.json: not a model that glow export wrote"),
        (errors.OfflineModeIsEnabled, ValueError, "the hub cannot be reached"),
        (errors.HfHubHTTPError, ValueError, "cannot be fetched: 404 Client Error. Of many lines."),
        (ConnectionResetError, ValueError, "cannot be fetched"),
    ],
)
def test_what_the_hub_answers(
    error: type[Exception],
    raised: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def download(*arguments: Any, **options: Any) -> str:
        logging.getLogger("huggingface_hub").warning("Retrying in 1s [Retry 1/5].")
        raise answer(error)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert words in refusal(raised)
    assert capfd.readouterr().err == ""


def test_the_package_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert "pip install 'glow-app[hub]'" in refusal(ValueError)
