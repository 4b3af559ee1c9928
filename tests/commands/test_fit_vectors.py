"""`glow fit` on vectors, the commands that read such a run, and those that refuse it."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_files import Killed, assert_same_training, load, logged

from glow_app.data import TOYS, load_vectors
from glow_app.generation import plane
from glow_app.models.vector_model import VectorModel
from glow_app.storage.exported_config import read_config
from glow_app.storage.pretrained import load_pretrained, model_hash
from glow_app.storage.stored_model import load_density
from lightning_modules.command_line.vector_report import _gaussian
from lightning_modules.vector_density import VectorDensityModule

Glow = Callable[..., Any]
Refused = Callable[..., str]

TOY_CONFIGS = Path(__file__).parents[2] / "configs" / "toy"

# Two epochs of four steps, each validated.
TINY = [
    *("--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=1", "--trainer.accelerator=cpu"),
    *("--trainer.log_every_n_steps=2", "--data.limit=256", "--data.batch_size=64"),
]
HEADS = {
    "gaussian": [],
    "planar": ["--model.prior.init_args.num_layers=2"],
    "maf": ["--model.prior.init_args.hidden_features=8"],
    "iaf": ["--model.prior.init_args.hidden_features=8"],
    "cnf": ["--model.prior.init_args.hidden_features=8", "--model.prior.init_args.trace=hutchinson"],
}
BEST = TOYS["eight_gaussians"]

each_head = pytest.mark.parametrize("head", HEADS)
# What has a run of its own for each head is quicker with fewer.
some_heads = pytest.mark.parametrize(
    "head", [pytest.param(head, marks=[] if head in ("maf", "cnf") else [pytest.mark.slow]) for head in HEADS]
)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "SIDE", 40)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, glow: Glow) -> Callable[[str], tuple[Path, Any]]:
    """Return the run of a head, and what it printed; made once, for reading only."""
    folder, made = tmp_path_factory.mktemp("toys"), dict[str, tuple[Path, Any]]()

    def run(head: str) -> tuple[Path, Any]:
        if head not in made:
            made[head] = (folder / head, fitted(glow, head, folder / head))
        return made[head]

    return run


def fitted(glow: Glow, head: str, folder: Path, *options: object) -> Any:
    """Fit a head, and return what was printed; where it fails, so does the test."""
    config = TOY_CONFIGS / f"{head}.yaml"
    result = glow("fit", "--config", config, "--run_dir", folder, *TINY, *HEADS[head], *options)
    assert result.code == 0, result
    return result


def table(folder: Path, width: int = 3, count: int = 300) -> Path:
    """A CSV file of dependent columns, none of them Gaussian."""
    values = np.random.default_rng(0).gamma(2.0, size=(count, width)).cumsum(1)
    path = folder / "table.csv"
    names = [f"column {number}" for number in range(width)]
    np.savetxt(path, values, delimiter=",", header=",".join(names), comments="")
    return path


def nats(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"^(-?\d+\.\d{4}) nats", output, re.MULTILINE)]


def estimated(head: str) -> str:
    return ", trace of the prior estimated" if head == "cnf" else ""


def mean_log_prob(model: Any, points: torch.Tensor) -> float:
    return float(model.log_prob(points).mean())


@each_head
def test_the_run_folder_holds_everything(runs: Callable[[str], Any], head: str) -> None:
    folder, result = runs(head)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("config.yaml", "metrics.csv", "last.ckpt", "previous.ckpt", "best.ckpt"),
        *("model/config.json", "model/model.safetensors"),
        *("pictures/density.png", "pictures/samples.png", "pictures/flow.png"),
    }
    for name in ("density", "samples", "flow"):
        with Image.open(folder / "pictures" / f"{name}.png") as picture:
            assert np.asarray(picture).std() > 5, name
    assert result.errors == []
    assert f"pictures: {folder}/pictures/density.png" in result.output
    assert result.output.endswith(f"\nrun folder: {folder}\nnext: glow test --checkpoint {folder}\n")


@each_head
def test_metrics_are_logged(runs: Callable[[str], Any], head: str) -> None:
    folder, _ = runs(head)
    assert len(logged(folder, "val/nats")) == 2
    assert len(logged(folder, "train/nats")) == 4
    for name in ("train/nats", "val/nats", "lr", "grad_norm", "vectors_per_second"):
        assert all(math.isfinite(value) for value in logged(folder, name)), name
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/nfe", "val/nfe"} <= set(header) if head == "cnf" else not any("nfe" in name for name in header)
    training = read_config(folder / "model")["training"]
    assert training["val/nats"] == pytest.approx(min(logged(folder, "val/nats")))


@each_head
def test_the_figures_are_those_of_the_exported_model(runs: Callable[[str], Any], head: str) -> None:
    folder, result = runs(head)
    model = load_density(folder)
    assert isinstance(model, VectorModel)
    assert model_hash(model) == model_hash(load_pretrained(folder / "model"))
    assert model_hash(model) == model_hash(load_density(folder / "best.ckpt"))
    points = load_vectors("eight_gaussians", "test", limit=256).values
    train = load_vectors("eight_gaussians", "train", limit=256).values
    found, best, reference = nats(result.output)
    # A trace that is estimated is that of other noise.
    assert found == pytest.approx(mean_log_prob(model, points), abs=2e-3 if head == "cnf" else 6e-5)
    assert best == pytest.approx(float(BEST.log_density(points).mean()), abs=6e-5)
    gaussian = torch.distributions.MultivariateNormal(train.double().mean(0), train.double().T.cov())
    assert reference == pytest.approx(float(gaussian.log_prob(points.double()).mean()), abs=6e-5)
    assert f"(eight_gaussians, test split, 256 vectors of 2{estimated(head)})" in result.output
    assert f"the exact density, on average {-BEST.entropy:.4f}" in result.output


@each_head
def test_validate_and_test_from_the_run(runs: Callable[[str], Any], glow: Glow, head: str) -> None:
    folder, printed = runs(head)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    results = {command: glow(command, "--checkpoint", folder) for command in ("validate", "test")}
    for command, result in results.items():
        assert (result.code, result.errors) == (0, []), result
        assert len(nats(result.output)) == 3
        split = command.replace("date", "dation")
        assert f"(eight_gaussians, {split} split, 256 vectors of 2{estimated(head)})" in result.output
    assert nats(results["validate"].output)[0] == pytest.approx(-min(logged(folder, "val/nats")), abs=6e-5)
    tested, reported = nats(results["test"].output), nats(printed.output)
    assert tested[0] == pytest.approx(reported[0], abs=2e-3 if head == "cnf" else 1.1e-4)
    assert tested[1:] == reported[1:]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_evaluation_of_other_checkpoints(runs: Callable[[str], Any], glow: Glow) -> None:
    folder, _ = runs("maf")
    for name, value in (("best.ckpt", min(logged(folder, "val/nats"))), ("last.ckpt", logged(folder, "val/nats")[-1])):
        result = glow("validate", "--checkpoint", folder / name)
        assert nats(result.output)[0] == pytest.approx(-value, abs=6e-5)


def test_evaluation_of_other_data(runs: Callable[[str], Any], glow: Glow) -> None:
    folder, _ = runs("maf")
    result = glow("test", "--checkpoint", folder, "--data.source", "rings", "--data.limit", 50)
    assert "(rings, test split, 50 vectors of 2)" in result.output
    points = load_vectors("rings", "test", limit=50).values
    found, best, _ = nats(result.output)
    assert found == pytest.approx(mean_log_prob(load_density(folder), points), abs=1.1e-4)
    assert best == pytest.approx(float(TOYS["rings"].log_density(points).mean()), abs=6e-5)


@some_heads
@pytest.mark.parametrize("steps", [pytest.param(4, marks=pytest.mark.slow), 6])
def test_an_interrupted_run_goes_on_bit_for_bit(
    runs: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glow: Glow, head: str, steps: int
) -> None:
    whole, printed = runs(head)
    part = tmp_path / "part"

    def save_and_kill(module: VectorDensityModule, *_: object) -> None:
        if module.global_step == steps:
            module.trainer.save_checkpoint(part / "last.ckpt")
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(VectorDensityModule, "on_train_batch_end", save_and_kill)
        config = TOY_CONFIGS / f"{head}.yaml"
        assert glow("fit", "--config", config, "--run_dir", part, *TINY, *HEADS[head]).code == 1
    assert not (part / "pictures").exists()
    torch.rand(7)
    result = glow("fit", "--resume", part)
    assert result.code == 0, result
    assert load(part / "last.ckpt")["global_step"] == 8
    assert_same_training(whole, part)
    assert logged(part, "train/nats")[-1] == logged(whole, "train/nats")[-1]
    assert model_hash(load_density(part / "model")) == model_hash(load_density(whole / "model"))
    if head != "cnf":
        assert nats(result.output) == nats(printed.output)
        for picture in ("density", "samples", "flow"):
            name = f"pictures/{picture}.png"
            assert (part / name).read_bytes() == (whole / name).read_bytes()


def test_the_configuration_alone_repeats_the_run(runs: Callable[[str], Any], tmp_path: Path, glow: Glow) -> None:
    whole, _ = runs("cnf")
    assert glow("fit", "--config", whole / "config.yaml", "--run_dir", tmp_path / "again").code == 0
    assert_same_training(whole, tmp_path / "again")
    for name in ("train/nats", "val/nats", "lr", "grad_norm", "step"):
        assert logged(whole, name) == logged(tmp_path / "again", name), name


@each_head
def test_info(runs: Callable[[str], Any], glow: Glow, head: str) -> None:
    folder, _ = runs(head)
    result = glow("info", folder)
    assert (result.code, result.errors) == (0, [])
    facts = {line[:20].rstrip(): line[21:] for line in result.output.splitlines()}
    assert facts["features"] == "2"
    spec = read_config(folder / "model")["model"]["prior"]
    assert facts["prior"].split(" ")[0] == spec["class_path"].rpartition(".")[2]
    assert all(
        name.removeprefix("num_").replace("_", " ") in facts["prior"]
        for name, value in spec["init_args"].items()
        if value is not None
    )
    assert facts["sha256"] == model_hash(load_density(folder))
    assert float(facts["nats"].partition(" in validation")[0]) == pytest.approx(
        min(logged(folder, "val/nats")), abs=5e-4
    )
    assert glow("info", folder / "last.ckpt").code == 0


def test_export(runs: Callable[[str], Any], tmp_path: Path, glow: Glow) -> None:
    folder, _ = runs("maf")
    result = glow("export", "--checkpoint", folder / "best.ckpt", "--output", tmp_path / "export")
    assert result.code == 0, result
    assert model_hash(load_density(tmp_path / "export")) == model_hash(load_density(folder / "best.ckpt"))


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate"])
def test_commands_for_images_say_what_it_is(
    runs: Callable[[str], Any], tmp_path: Path, pictures: list[Path], refused: Refused, command: str
) -> None:
    folder, _ = runs("gaussian")
    before = sorted(tmp_path.rglob("*"))
    arguments = {"sample": [], "reconstruct": pictures, "interpolate": pictures[:2]}[command]
    for path in (folder, folder / "best.ckpt"):
        message = refused(command, *arguments, "--checkpoint", path, code=1)
        assert f"{path} is a density of vectors, not of images" in message
    assert sorted(tmp_path.rglob("*")) == before


@some_heads
def test_a_table(tmp_path: Path, glow: Glow, head: str) -> None:
    path, folder = table(tmp_path), tmp_path / "run"
    options = ["--data.source", "table", "--data.path", path, "--model.num_features", 3]
    result = fitted(glow, head, folder, *options)
    assert result.errors == []
    assert not (folder / "pictures").exists()
    assert "pictures" not in result.output
    assert f"(table, test split, 30 vectors of 3{estimated(head)})" in result.output
    model = load_density(folder)
    assert isinstance(model, VectorModel)
    assert model.num_features == 3
    found, reference = nats(result.output)
    points = load_vectors("table", "test", path=path).values
    assert found == pytest.approx(mean_log_prob(model, points), abs=2e-3 if head == "cnf" else 6e-5)
    train = load_vectors("table", "train", path=path).values.double()
    gaussian = torch.distributions.MultivariateNormal(train.mean(0), train.T.cov())
    assert reference == pytest.approx(float(gaussian.log_prob(points.double()).mean()), abs=6e-5)
    tested = glow("test", "--checkpoint", folder)
    assert nats(tested.output) == pytest.approx([found, reference], abs=2e-3 if head == "cnf" else 1.1e-4)


@some_heads
def test_a_table_of_one_column(tmp_path: Path, glow: Glow, head: str) -> None:
    options = ["--data.source=table", "--data.path", table(tmp_path, 1), "--model.num_features=1"]
    folder = tmp_path / "run"
    result = fitted(glow, head, folder, *options)
    assert result.errors == []
    assert f"vectors of 1{estimated(head)})" in result.output
    assert not (folder / "pictures").exists()


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions(tmp_path: Path, glow: Glow, precision: str) -> None:
    folder = tmp_path / "run"
    result = fitted(glow, "maf", folder, "--trainer.precision", precision)
    assert load_density(folder).dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert nats(glow("test", "--checkpoint", folder).output)[0] == pytest.approx(nats(result.output)[0], abs=1.1e-4)


def test_nothing_but_the_kind_is_needed(tmp_path: Path, glow: Glow) -> None:
    result = glow("fit", "--kind=vectors", "--run_dir", tmp_path / "run", *TINY, "--data.source=pinwheel")
    assert result.code == 0, result
    assert "(pinwheel, test split, 256 vectors of 2)" in result.output


def test_print_config(tmp_path: Path, glow: Glow) -> None:
    result = glow("fit", "--config", TOY_CONFIGS / "cnf.yaml", "--print_config")
    assert result.code == 0, result
    assert "kind: vectors" in result.output
    assert "class_path: glow_app.priors.CNFPrior" in result.output
    assert list(tmp_path.iterdir()) == []
    # What is printed is a configuration.
    (tmp_path / "printed.yaml").write_text(result.output)
    options = [*TINY, "--trainer.max_epochs=1", *HEADS["cnf"]]
    assert glow("fit", "--config", tmp_path / "printed.yaml", "--run_dir", tmp_path / "run", *options).code == 0


def test_a_later_file_changes_an_earlier_one(tmp_path: Path, glow: Glow) -> None:
    (tmp_path / "more.yaml").write_text("data:\n  source: rings\ntrainer:\n  max_epochs: 1\n")
    configs = ["--config", TOY_CONFIGS / "gaussian.yaml", "--config", tmp_path / "more.yaml"]
    result = glow("fit", *configs, "--run_dir", tmp_path / "run", *[word for word in TINY if "max_epochs" not in word])
    assert result.code == 0, result
    assert "epoch 1/1" in result.output
    assert "(rings, test split" in result.output


USAGE = {
    "a typo": (["--kind=vector"], "kind is 'vector'; expected one of images, vectors"),
    "no value": (["--kind"], "--kind"),
    "an empty value": (["--kind="], "kind is ''; expected one of images, vectors"),
    "images": (["--kind=images"], "does not accept option 'model.prior"),
    "a file of images": (["--config=images.yaml"], "does not accept option 'model.prior"),
    "a file with a typo": (["--config=typo.yaml"], "kind is 'vektors'"),
    "no file": (["--config=none.yaml"], "none.yaml"),
    "an option of images": (["--samples.num_images=3"], "--samples.num_images"),
    "bits": (["--model.num_bits=3"], "--model.num_bits=3; did you mean --model.num_features?"),
    "features of the data": (["--data.num_features=3"], "must be given via"),
    "half a feature": (["--model.num_features=2.5"], "num_features"),
    "a typo in an option": (["--data.num_sample=3"], "did you mean --data.num_samples?"),
    "a prior that is none": (["--model.prior=MAFPriro"], "MAFPriro"),
    "an option of another prior": (["--model.prior.init_args.num_layers=2"], "num_layers"),
}


TABLE = ["--data.source=table", "--data.path=table.csv"]
VALUES = {
    "a toy of three features": (
        ["--model.num_features=3"],
        "has 2 columns, not num_features 3; set model.num_features",
    ),
    "a table of two features": (TABLE, "table.csv has 3 columns, not num_features 2; set model.num_features to 3"),
    "no feature": (["--model.num_features=0"], "is 0; expected at least 1"),
    "fewer than none": (["--model.num_features=-2"], "is -2; expected at least 1"),
    "NaN": ([TABLE[0], "--data.path=nan.csv", "--model.num_features=3"], "nan.csv has nan in row 2, column 'b'"),
    "a word": ([TABLE[0], "--data.path=word.csv", "--model.num_features=3"], "word.csv cannot be read as a table"),
    "no table": ([TABLE[0], "--data.path=none.csv"], "none.csv is not there"),
    "no path": ([TABLE[0]], "needs path: a .csv, .tsv, .npy or .npz file"),
    "a path for a toy": ([TABLE[1]], "set source to 'table'"),
    "a typo in the source": (["--data.source=two_moon"], "did you mean two_moons?"),
    "a batch too large": (["--data.batch_size=1000"], "with 256 training vectors it must be from 1 to 256"),
    "no layers": (["--model.prior=MAFPrior", "--model.prior.init_args.num_layers=0"], "num_layers is 0"),
    "no average": (["--ema.decay=1"], "decay is 1"),
}


@pytest.mark.parametrize("name", [*USAGE, *VALUES])
def test_wrong_usage_and_bad_values(tmp_path: Path, refused: Refused, name: str) -> None:
    (tmp_path / "images.yaml").write_text("kind: images\n")
    (tmp_path / "typo.yaml").write_text("kind: vektors\n")
    table(tmp_path)
    (tmp_path / "nan.csv").write_text("a,b,c\n1,2,3\n4,nan,6\n7,8,9\n")
    (tmp_path / "word.csv").write_text("a,b,c\n1,2,3\n4,five,6\n7,8,9\n")
    options, words = {**USAGE, **VALUES}[name]
    code, before = 2 if name in USAGE else 1, sorted(tmp_path.rglob("*"))
    config = ["--config", TOY_CONFIGS / "gaussian.yaml"]
    assert words in refused("fit", *config, "--run_dir", tmp_path / "run", *TINY, *options, code=code)
    assert code == 1 or sorted(tmp_path.rglob("*")) == before
    assert not list(tmp_path.rglob("*.ckpt"))


def test_bad_checkpoints(runs: Callable[[str], Any], tmp_path: Path, refused: Refused) -> None:
    folder, _ = runs("gaussian")
    assert "is an exported model; glow test needs a .ckpt file" in refused("test", "--checkpoint", folder / "model")
    damaged = tmp_path / "last.ckpt"
    damaged.write_bytes((folder / "last.ckpt").read_bytes()[:-100])
    for command, option, told in (
        ("test", "--checkpoint", "truncated or damaged"),
        ("fit", "--resume", "takes the newest good checkpoint"),
        ("info", "--checkpoint", "truncated or damaged"),
    ):
        assert told in refused(command, option, damaged, code=1)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    refused("fit", "--resume", folder, "--kind=images", code=2)
    message = refused("fit", "--config", TOY_CONFIGS / "gaussian.yaml", "--run_dir", folder, *TINY, code=1)
    assert f"--resume {folder}" in message
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_model_of_another_width(runs: Callable[[str], Any], tmp_path: Path, refused: Refused) -> None:
    folder, _ = runs("gaussian")
    path = table(tmp_path)
    message = refused("test", "--checkpoint", folder, "--data.source=table", "--data.path", path, code=1)
    assert "has 3 columns, not num_features 2" in message


@pytest.mark.parametrize("epochs", [2, 7])
def test_the_last_epochs_are_kept_without_a_validation(tmp_path: Path, glow: Glow, epochs: int) -> None:
    options = [word for word in TINY if "epoch" not in word]
    folder, config = tmp_path / "run", TOY_CONFIGS / "gaussian.yaml"
    result = glow("fit", "--config", config, "--run_dir", folder, *options, f"--trainer.max_epochs={epochs}")
    assert result.code == 0, result
    assert (folder / "last.ckpt").exists()
    assert load(folder / "last.ckpt")["global_step"] == 4 * epochs
    assert (folder / "model").is_dir()


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5, 1e-5])
def test_the_reference_is_the_same_in_other_units(scale: float) -> None:
    points = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)).double()
    points[:, 1] += 0.5 * points[:, 0]
    expected = torch.distributions.MultivariateNormal(points.mean(0), points.T.cov()).log_prob(points).mean()
    found = _gaussian(points, points * 1.0)
    assert found == pytest.approx(float(expected), abs=1e-4)
    scaled = points * torch.tensor([1.0, scale])
    in_other_units = _gaussian(scaled, scaled)
    assert in_other_units is not None
    assert in_other_units + math.log(scale) == pytest.approx(float(expected), abs=0.01)


def test_a_misspelt_option_of_a_prior_is_corrected(refused: Refused) -> None:
    config = f"--config={TOY_CONFIGS / 'maf.yaml'}"
    message = refused("fit", config, "--model.prior.init_args.num_layer=3")
    assert message.endswith("Parser key \"model.prior\": Option 'num_layer' is not accepted; did you mean num_layers?")
    message = refused("fit", config, "--model.prior.init_args.elementwise=cubic")
    assert "model.prior.elementwise is cubic; expected one of affine, spline" in message
    assert "Callable" not in message


def test_another_prior_than_the_checkpoints(runs: Callable[[str], Any], refused: Refused) -> None:
    folder, _ = runs("maf")
    message = refused("test", "--checkpoint", folder, f"--config={TOY_CONFIGS / 'planar.yaml'}")
    assert (
        "does not match the configuration, for example because another prior or width was given: Missing key(s)"
        in message
    )


def test_an_overlay_for_images_is_not_for_vectors(refused: Refused) -> None:
    overlay = TOY_CONFIGS.parent / "prior" / "cnf.yaml"
    message = refused("fit", "--config", TOY_CONFIGS / "maf.yaml", "--config", overlay, code=2)
    assert message.endswith("; the overlays prior/... are for images: toy/... are presets for each prior of vectors")
    message = refused("fit", "--config", overlay, code=2)
    assert "; an overlay goes on top of a preset: --config digits --config" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.limit=1", "--data.batch_size=1"], "(eight_gaussians, test split, 1 vector"),
        ([*TABLE, "--model.num_features=3", "--data.test_fraction=0"], "(table, validation split, 30 vectors of 3)"),
    ],
)
def test_what_is_reported(tmp_path: Path, glow: Glow, options: list[str], words: str) -> None:
    table(tmp_path)
    assert words in fitted(glow, "gaussian", tmp_path / "run", *options).output


def test_options_count_wherever_they_stand(tmp_path: Path, glow: Glow) -> None:
    table(tmp_path)
    options = [*TABLE, "--model.num_features=3", *TINY, "--config", TOY_CONFIGS / "gaussian.yaml"]
    result = glow("fit", *options, "--run_dir", tmp_path / "run")
    assert result.code == 0, result
    assert load_density(tmp_path / "run").config["num_features"] == 3


def test_a_skipped_step_is_one_line_of_warning(tmp_path: Path, glow: Glow) -> None:
    options = ["--model.optimizer.init_args.lr=30", "--model.lr_scheduler.init_args.warmup_steps=0"]
    small = ["--model.prior.init_args.max_num_steps=3", "--trainer.max_epochs=1"]
    result = glow("fit", "--config", TOY_CONFIGS / "cnf.yaml", *TINY, *options, *small, "--run_dir", tmp_path / "run")
    assert any("; step skipped" in line and "more than 3 steps" in line for line in result.errors), result
