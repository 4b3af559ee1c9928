"""`glow fit` on toy densities, the commands that read such a run, and those that refuse it."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_files import Killed, assert_same_training, load, logged

from glow_app.data.toys import TOYS, load_points
from glow_app.evaluation import points as points_pictures
from glow_app.models.points_model import PointsModel
from glow_app.storage.stored_model import load_density
from lightning_modules.points import PointsModule

Glow = Callable[..., Any]
Refused = Callable[..., str]

TOY_CONFIGS = Path(__file__).parents[2] / "configs" / "toy"

# Two epochs of four steps, each validated.
TINY = [
    *("--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=1", "--trainer.accelerator=cpu"),
    *("--trainer.log_every_n_steps=2", "--data.limit=256", "--data.batch_size=64"),
]
HEADS = {
    "maf": ["--model.prior.init_args.hidden_features=8"],
    "cnf": ["--model.prior.init_args.hidden_features=8", "--model.prior.init_args.trace=hutchinson"],
}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_pictures, "SIDE", 40)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, glow: Glow) -> Callable[[str], tuple[Path, Any]]:
    """Return the run of a head, and what it printed; made once, for reading only."""
    folder, made = tmp_path_factory.mktemp("toys"), dict[str, tuple[Path, Any]]()

    def run(head: str) -> tuple[Path, Any]:
        if head not in made:
            options = ("--config", TOY_CONFIGS / f"{head}.yaml", "--run_dir", folder / head, *TINY, *HEADS[head])
            made[head] = (folder / head, glow("fit", *options))
            assert made[head][1].code == 0, made[head][1]
        return made[head]

    return run


def nats(output: str) -> float:
    (found,) = re.findall(r"^(-?\d+\.\d{4}) nats", output, re.MULTILINE)
    return float(found)


@pytest.mark.parametrize("head", HEADS)
def test_a_run_and_the_commands_that_read_it(runs: Callable[[str], Any], glow: Glow, head: str) -> None:
    folder, result = runs(head)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("config.yaml", "metrics.csv", "last.ckpt", "previous.ckpt", "best.ckpt"),
        *("model/config.json", "model/model.safetensors", "curves.png", "report.html"),
        *("pictures/density.png", "pictures/samples.png", "pictures/flow.png"),
    }
    for path in (folder / "pictures").iterdir():
        assert np.asarray(Image.open(path)).std() > 5, path
    assert result.output.endswith(
        f"\nreport:     {folder}/report.html\nrun folder: {folder}\nnext: glow test --checkpoint {folder}\n"
    )
    for name in ("train/nats", "val/nats", "lr", "grad_norm", "points_per_second"):
        assert all(math.isfinite(value) for value in logged(folder, name)), name

    model = load_density(folder)
    assert isinstance(model, PointsModel)
    points, toy = load_points("eight_gaussians", "test", limit=256).values, TOYS["eight_gaussians"]
    # A trace that is estimated is that of other noise.
    tolerance = 2e-3 if head == "cnf" else 1.1e-4
    assert nats(result.output) == pytest.approx(float(model.log_prob(points).mean()), abs=tolerance)
    best = f"best possible: {float(toy.log_density(points).mean()):.4f} on these points, {-toy.entropy:.4f} on average"
    assert best in result.output
    tested, validated = (glow("test", "--checkpoint", folder, *split) for split in ([], ["--split=validation"]))
    assert "(eight_gaussians, test split, 256 points" in tested.output
    assert best in tested.output
    assert nats(tested.output) == pytest.approx(nats(result.output), abs=tolerance)
    assert nats(validated.output) == pytest.approx(-min(logged(folder, "val/nats")), abs=6e-5)
    facts = glow("info", folder).output
    assert model.hash in facts
    assert "Prior" in facts


@pytest.mark.parametrize("head", ["maf", "cnf"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    runs: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glow: Glow, head: str
) -> None:
    whole, printed = runs(head)
    part = tmp_path / "part"

    def save_and_kill(module: PointsModule, *_: object) -> None:
        if module.global_step == 6:
            module.trainer.save_checkpoint(part / "last.ckpt")
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(PointsModule, "on_train_batch_end", save_and_kill)
        config = TOY_CONFIGS / f"{head}.yaml"
        assert glow("fit", "--config", config, "--run_dir", part, *TINY, *HEADS[head]).code == 1
    result = glow("fit", "--resume", part)
    assert result.code == 0, result
    assert load(part / "last.ckpt")["global_step"] == 8
    assert_same_training(whole, part)
    assert load_density(part / "model").hash == load_density(whole / "model").hash
    if head == "maf":  # the trace is estimated with other noise in evaluations of cnf
        assert nats(result.output) == nats(printed.output)
        for path in (whole / "pictures").iterdir():
            assert (part / "pictures" / path.name).read_bytes() == path.read_bytes()
