import os
from pathlib import Path

import pytest

from glow_app.cli import main
from glow_app.commands.presets import CONFIGS, config_path, preset_names


def test_a_path_is_a_file_and_a_name_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prior").mkdir()
    for name in ("digits", "prior/maf"):
        (tmp_path / name).write_text("trainer: {callbacks: [{type: os.system}]}")
        assert config_path(name) == str(CONFIGS / f"{name}.yaml")
        assert config_path(f"./{name}") == f"./{name}"
    (tmp_path / "digits.yaml").write_text("name: mine")
    assert config_path("digits.yaml") == "digits.yaml"
    os.mkfifo(tmp_path / "pipe")
    assert config_path("pipe") == "pipe"


def test_presets_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in preset_names())
    assert "folder32           32x32x3   5    3.24M  not measured\n" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert main(["presets", "show", "prior/maf"]) == 0
    assert capsys.readouterr().out == (CONFIGS / "prior" / "maf.yaml").read_text(encoding="utf-8")
    assert main(["presets", "shows"]) == 2
    assert "invalid choice: 'shows'" in capsys.readouterr().err
