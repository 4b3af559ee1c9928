import warnings
from pathlib import Path

import pytest
from tiny_training import tiny_data, tiny_module, tiny_trainer

from lightning_modules import processor
from lightning_modules.callbacks import Throughput


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
        tiny_trainer(tmp_path, [Throughput()], max_epochs=1, precision=precision).fit(
            tiny_module(), datamodule=tiny_data()
        )
    assert any("32-true" in str(one.message) for one in found) == (not has and precision == "bf16-mixed")
