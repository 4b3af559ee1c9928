import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter
from registry import random_images, tiny_model
from torch import Tensor, nn

from glow_app.data.faces.rendered import rendered_faces
from glow_app.evaluation import compare, draw_samples, load_features
from glow_app.evaluation.features import WEIGHTS
from glow_app.pipeline import sample_batches
from glow_app.restoration.damage import compressed, noisy

ROOT = Path(__file__).parents[2]


class Pooled(nn.Module):
    """A scripted extractor by the convention: uint8 RGB in, four features out, more of them raw."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        assert images.dtype == torch.uint8
        pooled = images.float().mean(dim=[2, 3])
        if return_features:
            return torch.cat([pooled, images.float().amax(dim=[2, 3])[:, :1]], dim=1)[:, :, None, None]
        return pooled.softmax(dim=1)


class Summed(nn.Module):
    """Not an extractor: all images become one number."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().sum()[None]


def scripted(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.script(module).save(str(path))
    return path


def test_the_weights_that_ship_are_those_of_the_script_that_trained_them() -> None:
    recorded = json.loads((ROOT / "benchmarks/results/train_features.json").read_text())
    assert load_features("grey").sha256 == recorded["sha256"]
    assert recorded["test_accuracy"] > 0.9
    assert WEIGHTS.stat().st_size == recorded["bytes"] <= 500_000


def test_grey_features_take_grey_images_by_the_filter_that_they_name() -> None:
    extract = load_features("grey")
    images = random_images(3, (1, 40, 33))
    features = extract(images)
    assert features.shape == (3, 64)
    assert features.std(0).max() > 0
    resized = [
        np.asarray(Image.fromarray(one.numpy()).resize((28, 28), Image.Resampling.LANCZOS)) for one in images[:, 0]
    ]
    torch.testing.assert_close(extract(torch.from_numpy(np.stack(resized))[:, None]), features)
    torch.testing.assert_close(extract(images[1:2]), features[1:2])  # of each image by itself
    assert (extract.name, extract.preprocessing) == ("fashion-cnn-64", "grey, 28x28 by Lanczos")
    with pytest.raises(ValueError, match="fashion-cnn-64 supports only grey images; use another extractor for colour"):
        extract(random_images(3, (3, 28, 28)))


def noise(image: Image.Image, amount: float) -> Image.Image:
    return Image.fromarray(noisy(np.asarray(image), amount, np.random.default_rng(0)))


def cover(image: Image.Image, amount: float) -> Image.Image:
    covered = image.copy()
    covered.paste((127, 127, 127), (20, 20, 20 + int(amount), 20 + int(amount)))
    return covered


# Each with less and more of it.
DEGRADATIONS: dict[str, tuple[Callable[[Image.Image, float], Image.Image], float, float]] = {
    "noise": (noise, 5, 25),
    "blur": (lambda image, amount: image.filter(ImageFilter.GaussianBlur(amount)), 0.5, 2),
    "JPEG": (lambda image, amount: Image.fromarray(compressed(np.asarray(image), int(amount))), 50, 10),
    "pale colours": (lambda image, amount: ImageEnhance.Color(image).enhance(amount), 0.6, 0),
    "cover": (cover, 10, 30),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FID of")
def test_colour_features_order_degradations_and_real_halves_are_best() -> None:
    faces, extract = rendered_faces(0, 64, 64, None).copy(), load_features("colour")
    real, others = (
        extract(torch.from_numpy(faces[:32])),
        [Image.fromarray(face.transpose(1, 2, 0)) for face in faces[32:]],
    )

    def distance(change: Callable[[Image.Image, float], Image.Image], amount: float) -> float:
        changed = np.stack([np.asarray(change(image, amount)).transpose(2, 0, 1) for image in others])
        return compare(real, extract(torch.from_numpy(changed))).fid

    halves = distance(lambda image, _: image, 0)
    for name, (degrade, less, more) in DEGRADATIONS.items():
        assert halves < distance(degrade, less) < distance(degrade, more), name


def test_drawn_features_are_those_of_the_samples() -> None:
    model, extract = tiny_model(image_shape=(1, 8, 8), num_classes=3), load_features("grey")
    turns = [2, 0, 0, 1]
    kept, features = draw_samples(model, 10, extract, temperature=0.8, seed=5, turns=turns, batch_size=4, num_kept=6)
    images = torch.stack([image for _, image in sample_batches(model, 10, 0.8, 5, turns, 4)])
    torch.testing.assert_close(features, extract(images))
    assert torch.equal(kept, images[:6])


def test_a_torchscript_module_by_the_convention(tmp_path: Path) -> None:
    extract = load_features(scripted(Pooled(), tmp_path / "pooled.pt"))
    images = random_images(2, (1, 6, 5))
    mean, largest = images.float().mean((1, 2, 3)), images.float().amax((1, 2, 3))
    torch.testing.assert_close(extract(images), torch.stack([mean, mean, mean, largest], dim=1))
    assert extract.name == "pooled.pt"
    for module, message in (
        (Summed(), r"module.pt returns \(1,\) for 3 images; expected \(3, F\)"),
        (nn.Linear(3, 3), r"module.pt fails on uint8 RGB images"),
    ):
        extract = load_features(scripted(module, tmp_path / "module.pt"))
        with pytest.raises(ValueError, match=message):
            extract(random_images(3))


class Dangerous:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return print, ("ran",)


def test_other_files_are_refused_and_run_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file nothing.pt; --features takes grey"):
        load_features("nothing.pt")
    for name, content in (("code", Dangerous()), ("list", [1, 2]), ("other", nn.Linear(2, 2).state_dict())):
        torch.save(content, tmp_path / name)
    (tmp_path / "text").write_bytes(b"hello")
    (tmp_path / "cut").write_bytes((tmp_path / "other").read_bytes()[:300])
    for name in ("code", "list", "other", "text", "cut"):
        with pytest.raises(ValueError, match="cannot be read as a TorchScript module"):
            load_features(tmp_path / name)
    assert capsys.readouterr().out == ""
