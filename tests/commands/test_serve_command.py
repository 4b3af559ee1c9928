"""Options of `glow serve`."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from registry import tiny_model, tiny_restorer, tiny_wavelet_flow

from glow_app.cli import main
from glow_app.commands.serve import _name_of
from glow_app.conditioning import ClassConditioning
from glow_app.models.image_model import ImageModel
from glow_app.restoration import Clean, Upscale
from glow_app.storage.pretrained import save_pretrained


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(tiny_model(num_classes=4), tmp_path_factory.mktemp("served") / "model")


def test_a_public_server_without_a_key_gives_a_warning(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: list[dict[str, Any]]
) -> None:
    monkeypatch.delenv("GLOW_API_KEY", raising=False)
    (tmp_path / "keys").write_text("another-key\na-key\n")
    here = ["serve", f"--checkpoint={exported}", "--port=0"]
    assert main([*here, "--max-body-seconds=3"]) == 0
    with pytest.warns(UserWarning, match=r"anyone who can reach 0\.0\.0\.0 can use this server; set GLOW_API_KEY"):
        assert main([*here, "--host=0.0.0.0"]) == 0
    monkeypatch.setenv("GLOW_API_KEY", "k")
    assert main([*here, "--host=0.0.0.0"]) == 0
    assert main([*here, f"--api-key-file={tmp_path / 'keys'}"]) == 0
    assert [served["limits"].body_seconds for served in offered] == [3.0, 30.0, 30.0, 30.0]
    assert [served["keys"] for served in offered] == [[], [], ["k"], ["another-key", "a-key"]]


@pytest.mark.parametrize("key", ["", " ", "schl\u00fcssel"])
def test_invalid_keys_are_refused(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setenv("GLOW_API_KEY", key)
    line = refused("serve", code=2)
    assert "the key " in line
    monkeypatch.setenv("GLOW_API_KEY", "good")
    (tmp_path / "key").write_bytes(key.encode("latin-1"))
    assert refused("serve", f"--api-key-file={tmp_path / 'key'}", code=2) == line


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("--max-body-bytes=1e6", 2),
        ("--max-seconds=soon", 2),
        ("--allowed-hosts=http://x/", 2),
        ("--directions=nothing", 1),
        ("--host=192.0.2.1", 1),
    ],
)
def test_wrong_options_are_refused(
    option: str, code: int, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOW_API_KEY", "a-key")
    assert option.partition("=")[2] in refused("serve", option, code=code)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the options of each server instead of starting it."""
    served: list[dict[str, Any]] = []
    monkeypatch.setattr("glow_app.server.app.create_app", lambda **options: served.append(options))
    monkeypatch.setattr("glow_app.server.process.run_server", lambda *_, **__: None)
    return served


def test_restorers_are_named_after_their_runs(
    exported: Path, tmp_path: Path, offered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("runs/larger/20251127-120000/model", "clean", "other/clean"):
        save_pretrained(tiny_restorer(Clean() if "clean" in place else Upscale()), tmp_path / place)
    places = ["runs/larger", "runs/larger/20251127-120000", "clean", "other/clean/"]
    assert main([
        "serve", "--port=0", f"--checkpoint={exported}", "--restorers", *(str(tmp_path / place) for place in places)
    ]) == 0  # fmt: skip
    assert [restorer.info.name for restorer in offered[0]["restorers"]] == ["larger", "larger-2", "clean", "clean-2"]
    assert _name_of(SimpleNamespace(place="hf://me/larger@refs/pr/1", is_own=False)) == "larger"  # type: ignore[arg-type]
    assert "restorer larger-2: Upscale\n" in capsys.readouterr().out


@pytest.mark.slow
def test_bundled_restorers_and_wavelet_flows_are_served(
    tmp_path: Path, exported: Path, offered: list[dict[str, Any]]
) -> None:
    save_pretrained(ImageModel(tiny_wavelet_flow(conditioning=ClassConditioning(3, 4)), 8), tmp_path / "classes")
    save_pretrained(ImageModel(tiny_wavelet_flow(), 8), tmp_path / "bands")
    own = [f"--checkpoint={tmp_path / name}" for name in ("bands", "classes")]
    for options in ([], [f"--checkpoint={exported}"], ["--restorers"], own[:1], own[1:], ["--checkpoint=photos"]):
        assert main(["serve", "--port=0", *options]) == 0
    bundled = ["faces", "faces-fill", "faces-colourise", "photos-upscale2", "photos-clean"]
    infos = [[restorer.info for restorer in served["restorers"]] for served in offered]
    assert [[info.name for info in each] for each in infos] == [
        bundled, bundled[3:], [], ["bands", *bundled[3:]], bundled[3:], ["photos", *bundled[3:]]
    ]  # fmt: skip
    assert {info.source for info in infos[1]} == {"photos"}


def test_a_model_of_own_pictures_is_named_and_described(
    tmp_path: Path, offered: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)  # the image for serving is without it
    run = tmp_path / "runs/horses/20261127-120000"
    save_pretrained(tiny_model(), run / "model", {"data": {"source": "folder"}})
    (run / "config.yaml").write_text("data: {source: folder, root: /home/me/my_horses}")
    assert main(["serve", "--port=0", f"--checkpoint={run.parent}"]) == 0
    assert offered[0]["name"] == "horses"
    assert offered[0]["training"]["summary"] == "your pictures"
