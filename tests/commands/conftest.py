"""The `glow` command run in this process, and a trained run shared by all tests of this folder."""

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from registry import named, perturb, random_images, tiny_model, tiny_restorer

from glow_app.cli import main
from glow_app.conditioning import AttributeConditioning
from glow_app.data.attributes import Kind
from glow_app.restoration import Clean, Colourise, Fill, Upscale
from glow_app.storage.pretrained import save_pretrained

# 4-bit digits, two levels of two steps, 8 training steps per epoch.
TINY_RUN = [
    *("--num_bits=4", "--flow=glow", "--flow.image_shape=[1,8,8]"),
    *("--flow.num_levels=2", "--flow.num_steps=2", "--flow.hidden_channels=16"),
    *("--data.limit=256", "--data.batch_size=32"),
    *("--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=2"),
]


@dataclass(frozen=True)
class Result:
    """Exit code and standard output of a command, and the lines of standard error with all warnings."""

    code: int
    output: str
    errors: list[str]


def run_glow(*arguments: object) -> Result:
    output, errors = io.StringIO(), io.StringIO()
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        # The warnings that Python shows by default; pytest would collect them.
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Result(code, output.getvalue(), [*errors.getvalue().splitlines(), *(str(w.message) for w in caught)])


@pytest.fixture(scope="session")
def glow() -> Callable[..., Result]:
    return run_glow


@pytest.fixture
def refused() -> Callable[..., str]:
    """Run a command that must fail with a one-line message; return the message."""

    def run(*arguments: object, code: int | None = None) -> str:
        result = run_glow(*arguments)
        assert result.code in ((1, 2) if code is None else (code,)), result
        assert len(result.errors) == 1, result.errors
        assert result.errors[0].startswith("error: ")
        return result.errors[0]

    return run


@pytest.fixture
def tiny_run() -> list[str]:
    return TINY_RUN


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    result = run_glow("fit", "--run_dir", folder, *TINY_RUN)
    assert result.code == 0, result
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of grey 8x8 images with 4 bits and two levels, with arbitrary weights."""
    model = tiny_model(num_bits=4, image_shape=(1, 8, 8))
    return save_pretrained(model, tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture(scope="session")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported class-conditional model of ten named classes, with arbitrary weights."""
    model = named(tiny_model(num_bits=4, image_shape=(1, 8, 8), num_classes=10), *(f"Kind {a}" for a in "ABCDEFGHIJ"))
    return save_pretrained(model, tmp_path_factory.mktemp("conditional") / "model")


@pytest.fixture(scope="session")
def attributed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of the attributes smiling, hat, age and hue, with arbitrary weights."""
    kinds: dict[str, Kind] = {"smiling": "yes_no", "hat": "yes_no", "age": "real", "hue": "circular"}
    model = tiny_model(num_bits=4, image_shape=(1, 8, 8), conditioning=AttributeConditioning(kinds, 4, 6))
    perturb(model.conditioning, 1, 1.0)
    return save_pretrained(model, tmp_path_factory.mktemp("attributed") / "model")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of exported models that restore colour pictures, one per task."""
    folder = tmp_path_factory.mktemp("models")
    for task in (Upscale(), Clean(), Colourise(), Fill()):
        model = tiny_restorer(task, 0.01, images=random_images(16) // 2 + 64)
        save_pretrained(model, folder / type(task).__name__.lower())
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three grey 8x8 PNGs whose pixels survive quantisation to 4 bits."""
    rng = np.random.default_rng(3)
    paths = [tmp_path / "pictures" / f"{name}.png" for name in "abc"]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray((rng.integers(0, 16, (8, 8)) * 17).astype(np.uint8)).save(path)
    return paths


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate each test from the home folder, the working folder and the environment."""
    monkeypatch.setenv("GLOW_CACHE", str(tmp_path / "glow-cache"))
    monkeypatch.setenv("GLOW_DATA", str(tmp_path / "glow-data"))
    monkeypatch.chdir(tmp_path)
