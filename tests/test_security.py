"""Files that SECURITY.md calls safe to open, beyond the tests of their readers."""

from pathlib import Path

import pytest
import torch
from registry import tiny_model
from safetensors.torch import save_file

from glow_app.cli import main
from glow_app.messages import format_warning, printable
from glow_app.pipeline.tensor_file import LATENTS, load_latents, tensors_bytes
from glow_app.storage.pretrained import save_pretrained


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"format": "glow-latents/1", "facts": "[" * 200_000})
    with pytest.raises(ValueError, match="is damaged"):
        load_latents(path, tiny_model())


def test_latents_without_names_are_refused(tmp_path: Path) -> None:
    model = tiny_model()
    for facts in (None, {"a": 1}, [1, 2], ["a\0b"]):
        content = tensors_bytes({"level0": torch.zeros(1)}, model, LATENTS, facts)
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"does not name its images|not of the shapes"):
            load_latents(tmp_path / "x.safetensors", model)


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b]0;owned\x07b\u202ec é 日") == "a\\x1b]0;owned\\x07b\\u202ec é 日"
    assert "\x1b" not in format_warning("file \x1b[2J.png")


def test_info_and_errors_escape_text_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_pretrained(tiny_model(), tmp_path / "model", {"note": "\x1b[2Jboo", "\x1b[1mname": 3})
    assert main(["info", str(folder)]) == 0
    assert main(["info", str(tmp_path / "\x1b[2Jnothing.ckpt")]) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "\\x1b[2Jboo" in captured.out
