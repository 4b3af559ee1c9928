"""Programs from their files draw what the model draws; others are not put in place."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import tiny_model
from torch import Tensor

from glow_app.bijections import AffineCoupling
from glow_app.export import SAMPLER_FORMATS, Parity, compare, onnx_program, save_sampler, write
from glow_app.models.image_model import ImageModel
from glow_app.nn import GatedResidualConditioner, ZeroConv2d
from glow_app.pictures.image_batch import Images
from glow_app.priors import GaussianPrior, IAFPrior, MAFPrior
from glow_app.storage.pretrained import model_hash, save_pretrained

SMALL: dict[str, Any] = {"image_shape": (1, 8, 4), "num_steps": 1}
RESIDUAL: dict[str, Any] = {
    "conditioner": GatedResidualConditioner,
    "coupling": "additive",
    "num_classes": 3,
    "image_shape": (3, 4, 12),
    "num_steps": 1,
    "num_bits": 3,
}
CASES = [
    pytest.param("torch-export", SMALL, id="torch-export"),
    pytest.param("torch-export", RESIDUAL, id="torch-export, residual, additive, classes"),
    pytest.param("onnx", RESIDUAL, id="onnx, residual, additive, classes"),
    pytest.param(
        "torch-export",
        {**SMALL, "prior": partial(GaussianPrior, rank=3)},
        id="torch-export, low rank",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "torch-export",
        {**SMALL, "dtype": torch.float64, "prior": partial(MAFPrior, hidden_features=6, max_groups=3)},
        id="torch-export, float64, MAF",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "onnx",
        {**SMALL, "num_classes": 2, "prior": partial(IAFPrior, hidden_features=6, elementwise="spline")},
        id="onnx, IAF, spline, classes",
        marks=pytest.mark.slow,
    ),
    pytest.param("onnx", {"num_bits": 5, "image_shape": (3, 16, 16)}, id="onnx, five bits", marks=pytest.mark.slow),
]


def folder_with(model: ImageModel, kind: str, folder: Path) -> tuple[write.Draw, dict[str, Any]]:
    save_sampler(model, folder, kind)
    description = json.loads((folder / "sampler.json").read_text())
    return SAMPLER_FORMATS[kind].load(folder / description["program"]["file"]), description


def of_classes(model: ImageModel, num: int) -> tuple[tuple[Tensor | None, ...], Tensor | None]:
    """Return what a program takes beside latents, and the context that the model makes of it."""
    if model.flow.num_classes is None:
        return (None,), None
    labels, guidance = torch.arange(num) % model.flow.num_classes, [1.0, 1.4, 0.5, 2.0, 1.0, 1.1, 1.2, 1.0, 1.3][:num]
    return (labels, torch.tensor(guidance, dtype=model.dtype)), model.flow.embed(labels, guidance)


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_a_program_draws_what_its_model_draws(kind: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(**arguments)
    draw, description = folder_with(model, kind, tmp_path / "sampler")
    for num, temperature in ((1, 0.7), (2, 1.0), (9, 0.7)):
        latents = model.base_noise(range(100, 100 + num), temperature)
        inputs, context = of_classes(model, num)
        images, expected = draw(latents, *inputs), model.decode(latents, context=context)
        assert images.dtype == torch.uint8
        # By torch to the last bit; onnxruntime may add in another order.
        assert torch.equal(images, expected) if kind == "torch-export" else (images != expected).double().mean() < 0.01
    assert description["model"] == model_hash(model)
    assert [tuple(one["shape"][1:]) for one in description["inputs"] if one["name"][:5] == "level"] == [
        *model.flow.latent_shapes
    ]
    assert description["num_classes"] == model.flow.num_classes
    names = [one["name"] for one in description["inputs"] if one["name"][:5] != "level"]
    assert names == ([] if model.flow.num_classes is None else ["labels", "guidance"])
    assert description["temperature"] == [0.7] * len(model.flow.latent_shapes)
    assert description.get("guidance") == (None if model.flow.num_classes is None else 1.0)
    assert description["num_bits"] == model.num_bits
    assert description["check"]["num_images"] + description["check"]["num_unsure"] == 16
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["sampler", "sampler.json", description["program"]["file"]]
    )


def test_scales_that_underflow_are_drawn_by_onnx_too(tmp_path: Path) -> None:
    """The exporter's log(sigmoid(x)) gave NaN, and black images, below -88."""
    model = tiny_model(**SMALL)
    for part in model.modules():
        if isinstance(part, AffineCoupling):
            last = part.conditioner.last
            assert isinstance(last, ZeroConv2d)
            last.bias.data[-1] = -200.0
            last.log_scale.data.zero_()
    draw, description = folder_with(model, "onnx", tmp_path / "sampler")
    assert description["check"]["num_images"] > 8
    latents = model.base_noise(range(16), 0.7)
    images = draw(latents, None)
    assert images.double().mean() > 10
    assert (images != model.decode(latents)).double().mean() < 0.01


def test_onnx_of_what_it_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="the model is float64, but onnxruntime convolves only float32"):
        save_sampler(tiny_model(**SMALL, dtype=torch.float64), tmp_path / "sampler", "onnx")
    monkeypatch.setattr(onnx_program, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="an ONNX file less than 2; use --format torch-export"):
        save_sampler(tiny_model(**SMALL), tmp_path / "sampler", "onnx")
    assert list(tmp_path.iterdir()) == []


def put_in_place(monkeypatch: pytest.MonkeyPatch, draw: write.Draw) -> None:
    """Let the program of torch-export be anything."""
    form = SAMPLER_FORMATS["torch-export"]._replace(save=lambda sampler, path: path.touch(), load=lambda path: draw)
    monkeypatch.setattr(write, "SAMPLER_FORMATS", {**SAMPLER_FORMATS, "torch-export": form})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda images: images + (images < 255),
            r"differs from the model in \d+\.\d+% of the pixels, by up to 1 level",
        ),
        (lambda images: images ^ 7 * (images == images.max()).byte(), "by up to 7 levels"),
        (lambda images: images[:, :, :4], "draws torch.uint8 of shape"),
        (lambda images: images.int(), "draws torch.int32 of shape"),
    ],
    ids=["by one", "a few by seven", "shape", "dtype"],
)
def test_a_program_that_draws_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, words: str
) -> None:
    model = tiny_model(**SMALL)
    put_in_place(monkeypatch, lambda latents, labels: change(model.decode(latents, labels)))
    with pytest.raises(ValueError, match=words) as caught:
        save_sampler(model, tmp_path / "sampler", "torch-export")
    assert "nothing was written" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_rounding_is_told_from_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(image_shape=(3, 16, 16), num_steps=1)

    def one_pixel(latents: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        images = model.decode(latents, labels)
        images[0, 0, 0, 0] ^= 1
        return images

    parity = compare(model, one_pixel)
    assert (parity.num_images, parity.num_different, parity.largest) == (16, 6, 1)
    assert parity.num_values == 16 * 768
    parity.require()


class _Chaotic(ImageModel):
    """A model that draws something else in float64, for the first of each batch."""

    def decode(self, latents: Sequence[Tensor], *given: Any, **named: Any) -> Images:
        images = super().decode(latents, *given, **named)
        if self.dtype == torch.float64:
            images[:1].bitwise_xor_(128)
        return images


def test_images_that_rounding_decides_are_left_out() -> None:
    model = _Chaotic(tiny_model(**SMALL).flow)

    def draw(latents: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        images = model.decode(latents, labels)
        images[:1] = 0
        return images

    parity = compare(model, draw)
    assert (parity.num_images, parity.num_unsure, parity.num_different) == (10, 6, 0)
    assert "(6 unsure)" in str(parity)
    parity.require()
    with pytest.raises(ValueError, match="9 of 16 images of the model are decided by rounding"):
        Parity(7, 9, 700, 0, 0).require()


def test_only_a_sampler_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(**SMALL)
    put_in_place(monkeypatch, model.decode)
    folder = tmp_path / "sampler"
    save_sampler(model, folder, "torch-export")
    with pytest.raises(FileExistsError, match="--overwrite"):
        save_sampler(model, folder, "torch-export")
    save_sampler(model, folder, "torch-export", {"epoch": 3}, overwrite=True)
    assert json.loads((folder / "sampler.json").read_text())["training"] == {"epoch": 3}
    with pytest.raises(FileExistsError, match="holds other files"):
        save_sampler(model, save_pretrained(model, tmp_path / "weights"), "torch-export", overwrite=True)
    for content in ("{}", "not JSON", "[]", '{"format": "another"}'):
        (folder / "sampler.json").write_text(content)
        with pytest.raises(FileExistsError, match="another program"):
            save_sampler(model, folder, "torch-export", overwrite=True)
    (folder / "sampler.json").unlink()
    with pytest.raises(FileExistsError, match="another program"):
        save_sampler(model, folder, "torch-export", overwrite=True)
    assert (folder / "sampler.pt2").exists()
    (tmp_path / "empty").mkdir()
    odd = tmp_path / "odd"
    (odd / "sampler.json").mkdir(parents=True)  # as a link to a device, no file
    with pytest.raises(FileExistsError, match="another program"):
        save_sampler(model, odd, "torch-export", overwrite=True)
    save_sampler(model, tmp_path / "empty", "torch-export", overwrite=True)
