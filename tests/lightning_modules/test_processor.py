import os
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from tiny_training import tiny_fit

from glow_app.cli import main
from lightning_modules.callbacks import Throughput
from lightning_modules.runs import processor
from lightning_modules.runs.processor import Crowding, flushed_denormals, run_delays


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model name : x\nflags\t\t: fpu avx2 avx512f\n", False),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("processor : 0\n", None),
        (None, None),
    ],
)
def test_the_kernel_says_whether_there_is_bfloat16(
    text: str | None, found: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert processor.has_bfloat16() is found


@pytest.mark.parametrize(("has", "precision"), [(False, "bf16-mixed"), (True, "bf16-mixed"), (False, "32-true")])
def test_a_fit_warns_of_bfloat16_in_vain(
    has: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_modules.callbacks.throughput.has_bfloat16", lambda: has)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        tiny_fit(tmp_path, [Throughput()], max_epochs=1, precision=precision)
    assert any("32-true" in str(one.message) for one in found) == (not has and precision == "bf16-mixed")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_this_thread_is_told_of() -> None:
    assert run_delays()[str(os.getpid())] >= 0.0


def test_delays_are_read_in_seconds_and_what_has_ended_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"7": "5000000000 1500000000 42\n", "8": "0 0 0\n", "9": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "schedstat").write_text(text)
    (tmp_path / "10").mkdir()
    monkeypatch.setattr("lightning_modules.runs.processor.TASKS", tmp_path)
    assert run_delays() == {"7": 1.5, "8": 0.0}


def test_shares_are_those_since_the_last_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, delays = 100.0, {"1": 10.0, "2": 0.0}
    monkeypatch.setattr("lightning_modules.runs.processor.time.perf_counter", lambda: clock)
    monkeypatch.setattr("lightning_modules.runs.processor.run_delays", lambda: delays)
    crowding = Crowding()
    clock, delays = 104.0, {"1": 11.0, "2": 0.0, "3": 7.0}
    assert crowding.waits() == [0.25, 0.0, 0.0], "nobody knows when the third began"
    crowding.restart()
    clock, delays = 106.0, {"1": 12.0, "3": 8.0}
    assert crowding.waits() == [0.5, 0.5]


def test_where_nobody_knows_there_is_nothing_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.runs.processor.TASKS", tmp_path / "none")
    assert Crowding().waits() == []


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
