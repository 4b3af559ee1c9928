import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glow_app.storage.places import bundled_models

Glow = Callable[..., Any]


def test_bundled_models_are_listed(glow: Glow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    lines = glow("models").output.splitlines()
    assert lines[0].split() == ["model", "image", "task", "bits", "classes", "val", "bits/dim", "size"]
    restorers = [f"faces-{task}" for task in ("colourise", "fill", "upscale4")]
    photos = [f"photos-{task}" for task in ("deblock", "denoise", "upscale2")]
    assert [line.split()[0] for line in lines[1:9]] == ["faces", *restorers, "fashion-mnist", *photos]
    assert lines[1].split()[1:5] == ["64x64x3", "none", "5", "none"]
    assert lines[1].endswith("default")
    assert [line.split()[2] for line in lines[2:5]] == ["colourise", "fill", "upscale"]
    assert lines[5].split()[1:5] == ["28x28x1", "none", "8", "10"]


def test_models_in_the_hubs_cache_are_listed_and_others_are_not(
    glow: Glow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, damaged, foreign = (tmp_path / name for name in ("ours", "damaged", "foreign"))
    shutil.copytree(bundled_models()["fashion-mnist"], ours)
    shutil.copytree(ours, damaged)
    config = (damaged / "config.json").read_text()
    (damaged / "config.json").write_text(config.replace('"flow"', '"river"'))
    foreign.mkdir()
    (foreign / "config.json").write_text("{}")
    repositories = [
        SimpleNamespace(
            repo_id=f"someone/{folder.name}", revisions=[SimpleNamespace(snapshot_path=folder, commit_hash="0" * 40)]
        )
        for folder in (ours, damaged, foreign)
    ]
    monkeypatch.setattr("huggingface_hub.scan_cache_dir", lambda: SimpleNamespace(repos=repositories))
    rows = [line.split() for line in glow("models").output.splitlines() if line.startswith("hf://")]
    assert [row[0] for row in rows] == [f"hf://someone/{name}@{'0' * 12}" for name in ("damaged", "ours")]
    assert "28x28x1" not in rows[0]
    assert rows[1][1:5] == ["28x28x1", "none", "8", "10"]
