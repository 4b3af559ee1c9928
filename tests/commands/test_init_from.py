"""`glow fit --init-from`: a run that starts from the weights of another model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from registry import random_images, tiny_restorer
from tiny_training import TINY_FIT, same

from glow_app.cli import main
from glow_app.pictures.image_batch import Images
from glow_app.restoration import Upscale
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model

DIGITS = TINY_FIT[0]
STILL = ["--optimizer=sgd", "--optimizer.lr=0", "--trainer.max_epochs=1", "--data.limit=128"]


def test_architecture_and_weights_are_those_of_the_model(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["fit", DIGITS, f"--init-from={trained}", *STILL, f"--run_dir={run}"]) == 0
    source, begun = load_model(trained), load_model(run / "last.ckpt")
    assert begun.config == source.config
    assert same(begun.state_dict(), source.state_dict())
    assert main(["fit", f"--resume={run}", "--trainer.max_epochs=2"]) == 0  # the checkpoint has all it needs


def test_a_model_that_training_makes_worse_is_exported_as_it_began(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, worse = tmp_path / "run", ["--optimizer=sgd", "--optimizer.lr=0.5"]
    limits = ["--data.limit=128", "--trainer.max_epochs=1"]
    assert main(["fit", DIGITS, f"--init-from={trained}", *worse, *limits, f"--run_dir={run}"]) == 0
    said = capsys.readouterr().out
    assert "; no step was better than the model it began from, which is exported: more pictures or" in said
    source = load_model(trained).state_dict()
    assert same(load_model(run).state_dict(), source)
    assert not same(load_model(run / "last.ckpt").state_dict(), source)
    assert main(["fit", f"--resume={run}", "--trainer.max_epochs=2"]) == 0
    assert same(load_model(run).state_dict(), source)
    (run / "last.ckpt").unlink()  # as if the run had been killed before it saved
    (run / "previous.ckpt").unlink(missing_ok=True)
    assert main(["fit", f"--resume={run}"]) == 0


def test_a_folder_is_fitted_in_the_size_of_the_model(trained: Path, tmp_path: Path) -> None:
    folder, run = Images(random_images(40, (1, 20, 20))).save(tmp_path / "few"), tmp_path / "run"
    assert main(["fit", str(folder), "--init-from", str(trained), "--epochs=1", f"--run_dir={run}"]) == 0
    assert load_model(run).config == load_model(trained).config


def test_the_estimate_of_a_restorer_stays(tmp_path: Path) -> None:
    source, run = tiny_restorer(Upscale()), tmp_path / "run"
    save_pretrained(source, tmp_path / "source")
    photos = Images(random_images(20, (3, 24, 24))).save(tmp_path / "photos")
    words = ["fit", "--config=restore/upscale2", f"--init-from={tmp_path / 'source'}", f"--data.root={photos}"]
    words += ["--data.batch_size=8", "--trainer.max_steps=3", "--trainer.max_epochs=3", f"--run_dir={run}"]
    assert main(words) == 0
    before, after = source.state_dict(), load_model(run / "last.ckpt").state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert any(name.startswith("flow.levels") for name in changed)
    # The heads make maps of it, for the flow.
    assert not [name for name in changed if name.startswith("flow.conditioning.encoder") and ".heads." not in name]


REFUSED = {
    "--resume={trained}": (2, "glow fit: use either --init-from or --resume, not both"),
    "--flow.hidden_channels=8": (1, "{trained} does not match the configuration, for example because"),
    "--init-from=nowhere": (1, "there is no model nowhere"),
    "--init-from": (2, "glow fit: argument --init-from: expected one argument"),
}


def test_an_exported_model_is_not_resumed(refused: Callable[..., str]) -> None:
    assert "photos is an exported model" in refused("fit", "--resume=photos", code=1)


def test_what_does_not_fit_is_refused_in_one_line(trained: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    for option, (code, words) in REFUSED.items():
        message = refused("fit", DIGITS, f"--init-from={trained}", option.format(trained=trained), code=code)
        assert message.startswith(f"error: {words.format(trained=trained)}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_restorer_does_not_begin_a_folder_of_whole_pictures(tmp_path: Path, refused: Callable[..., str]) -> None:
    folder = Images(random_images(20, (3, 24, 24))).save(tmp_path / "few")
    message = refused("fit", folder, "--init-from=faces-fill", "--epochs=1", code=2)
    assert "glow fit --config restore/NAME --init-from faces-fill --data.root" in message
