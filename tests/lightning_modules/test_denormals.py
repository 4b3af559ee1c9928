import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from glow_app.cli import main
from lightning_modules.denormals import flushed_denormals


def kept() -> bool:
    """Whether this thread knows numbers below the smallest normal ones, in Python and in torch."""
    in_python = sys.float_info.min / 2 > 0.0
    in_torch = bool(torch.tensor(torch.finfo().tiny) / 2 > 0)
    assert in_python == in_torch
    return in_python


class Seen(Callback):
    keeps: ClassVar[list[bool]] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.keeps.append(kept())


def test_the_mode_that_was_there_comes_back() -> None:
    assert kept()
    with flushed_denormals():
        assert not kept()
        with flushed_denormals():
            pass
        assert not kept()
    assert kept()
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert kept()


def test_fit_flushes_and_leaves_the_thread_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "keeps", [])
    size = "image_shape: [1, 8, 8], num_levels: 1, num_steps: 1, hidden_channels: 4"
    flow = f"{{class_path: glow_app.flows.Glow, init_args: {{{size}}}}}"
    arguments = [f"--model.flow={flow}", "--model.num_bits=4", "--data.limit=70", "--trainer.max_epochs=1"]
    arguments += [f"--run_dir={tmp_path / 'run'}", f"--trainer.callbacks+={__name__}.Seen"]
    assert main(["fit", *arguments]) == 0
    assert Seen.keeps
    assert not any(Seen.keeps)
    assert kept()
