"""Models whose figures mean nothing are named."""

from pathlib import Path

import pytest
import torch
from registry import random_images, tiny_glow, tiny_model, tiny_restorer
from tiny_training import TINY_FIT, tiny_fit
from torch import Tensor

from glow_app.bijections import AdditiveCoupling
from glow_app.cli import main
from glow_app.data.image_set import ImageSet
from glow_app.evaluation import faults_of
from glow_app.restoration import Upscale
from glow_app.spec import register
from lightning_modules.image_module import ImageModule


@register("boasting")
class Boasting(AdditiveCoupling):
    """Its log-determinant is wrong."""

    def transform(self, x_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        z_b, log_det = super().transform(x_b, *theta)
        return z_b, log_det + 1000


@register("forgetting")
class Forgetting(AdditiveCoupling):
    """Its inverse is wrong."""

    def inverse_transform(self, z_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        x_b, log_det = super().inverse_transform(z_b, *theta)
        return x_b + 1, log_det


@register("dividing")
class Dividing(AdditiveCoupling):
    """Its inverse is not finite."""

    def inverse_transform(self, z_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        return z_b / 0, z_b.new_zeros(len(z_b))


FAULTY = {Boasting: "are impossible", Forgetting: "is not invertible", Dividing: "cannot be inverted"}


@pytest.mark.parametrize("coupling", FAULTY)
def test_faults_are_named(coupling: type[AdditiveCoupling], tmp_path: Path) -> None:
    images = ImageSet(random_images(10).numpy(), torch.zeros(10).long(), ["a"])
    (fault,) = faults_of(tiny_model(coupling=coupling), images)
    assert FAULTY[coupling] in fault
    for sound in (tiny_model(), tiny_model(num_bits=5, num_classes=1), tiny_restorer(Upscale())):
        assert faults_of(sound, images) == []
    module = ImageModule(tiny_glow((1, 8, 8), coupling=coupling), seed=5)
    with pytest.warns(UserWarning, match=FAULTY[coupling]):
        tiny_fit(tmp_path, module=module, max_epochs=1)


def test_a_likelihood_that_becomes_impossible_is_named_once_and_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(self: ImageModule, batch: tuple[Tensor, Tensor], _: torch.Generator) -> dict[str, Tensor]:
        return {"bpd": torch.full((len(batch[0]),), -1.0 - self.current_epoch)}

    monkeypatch.setattr(ImageModule, "evaluate", evaluate)
    with pytest.warns(UserWarning, match="-1.000 bits/dim are impossible") as caught:
        assert main(["fit", *TINY_FIT, "--trainer.max_epochs=2", f"--run_dir={tmp_path / 'run'}"]) == 0
    assert sum("impossible" in str(each.message) for each in caught) == 1
    (best,) = [line for line in capsys.readouterr().out.splitlines() if "best at step" in line]
    assert "-2.000 bits/dim are impossible" in best
