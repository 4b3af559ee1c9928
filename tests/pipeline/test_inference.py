"""Attributes that a model infers from images."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import named, perturb, random_images, tiny_model
from torch import Tensor

from glow_app import load_model
from glow_app.conditioning import AttributeConditioning
from glow_app.data.attributes import Kind
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pictures.images import save_picture, to_pil
from glow_app.pipeline import drawn_with, edit, edit_attributes, infer, interpolate
from glow_app.pipeline.editing import place_of_change
from glow_app.pipeline.loaded_model import Encoded, LoadedModel

KINDS: dict[str, Kind] = {"smiling": "yes_no", "hat": "yes_no", "age": "real", "hue": "circular"}


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.manual_seed(0)  # of the conditioning
    model = tiny_model(num_bits=5, perturbation=0.03, conditioning=AttributeConditioning(KINDS, 4, 6))
    perturb(model.conditioning, 1, 1.0)
    return model.freeze()


def read(model: LoadedModel, given: Any, num: int) -> Tensor:
    known = model.vocabulary.parse(given, num)
    assert known is not None
    return known


def test_attributes_are_read_unless_they_are_given(model: LoadedModel) -> None:
    images = random_images(6)
    inferred = infer(model, images)
    assert isinstance(model.conditioning, AttributeConditioning)
    assert inferred is not None
    assert torch.equal(inferred, model.conditioning.read(images))
    given = {"age": 0.3, "hat": 1}
    known = infer(model, images, [given, *[{}] * 5])
    assert known is not None
    assert known[0, [1, 2]].tolist() == pytest.approx([1, 0.3])
    assert torch.equal(known[0, [0, 3]], inferred[0, [0, 3]])
    assert torch.equal(known[1:], inferred[1:])


def test_values_that_an_image_has_change_no_pixel(model: LoadedModel) -> None:
    images = random_images(3)
    given = {"smiling": 1, "hat": 0, "age": 0.3, "hue": 0.9}
    for wanted in (given, {"hat": 0}, {}):
        assert torch.equal(edit_attributes(model, images, wanted, given, 3.0), images)
    inferred = model.vocabulary.format(infer(model, images))
    assert torch.equal(edit_attributes(model, images, inferred), images)
    changed = edit_attributes(model, images[:1], {"hat": 1}, given, [0, 0.1, 0.2, -0.1])
    assert torch.equal(changed[0], images[0])
    assert len({image.numpy().tobytes() for image in changed}) == 4


def test_each_attribute_is_changed_with_its_own_strength(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    images, known = random_images(3), read(model, {"smiling": 1, "hat": 0, "age": 0.3, "hue": 0.9}, 3)
    model = deepcopy(model)
    model.generation = GenerationSettings(1.0)
    monkeypatch.setattr("glow_app.pipeline.editing.place_of_change", lambda *_: torch.ones(3, 1, 1, 1))
    conditioning = model.conditioning
    assert isinstance(conditioning, AttributeConditioning)
    conditioning.strengths[:] = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 1.5, 8.0]])
    older, glad = known.clone(), known.clone()
    older[:, 2], glad[:, 0] = 0.2, 0
    both = older.where(older != known, glad)
    latents = model.encode(images, known)
    low_bits = images.short() - model.quantised(images).short()
    before, after, between, last = (conditioning(values) for values in (known, older, glad, both))
    for strength in (1.0, 0.5):
        changes = {("age", 0.2): 1.5 * (after - before), None: 5.0 * (between - before) + 1.5 * (last - between)}
        for wanted, change in changes.items():
            decoded = model.decode_with(latents, before, strength * change)
            expected = (decoded.short() + low_bits).clamp(0, 255).byte()
            changed_to = dict([wanted]) if wanted else {"age": 0.2, "smiling": 0}
            assert torch.equal(edit_attributes(model, images, changed_to, known, strength), expected)


def test_pixels_stay_where_the_changed_attributes_do_not_act() -> None:
    faces = load_model("faces").freeze()
    image = faces.sample(1, seeds=3, given={"smiling": 0, "hat": 0})
    known = read(faces, image.given, 1)
    changed = edit_attributes(faces, image, {"smiling": 1}, known)
    is_same = (changed == image).all(1)[0]
    assert is_same[:96].all(), "hair, eyes and what is behind them"
    assert is_same.double().mean() > 0.8
    assert (~is_same[128:192, 96:160]).any(), "the mouth"
    latents = faces.encode(image, known)
    places = [
        place_of_change(faces, latents, known, read(faces, image.given[0] | changes, 1))
        for changes in ({"hat": 1}, {"skin_warmth": 0.9}, {"hat": 1, "skin_warmth": 0.9})
    ]
    torch.testing.assert_close(places[2], places[0].maximum(places[1]), rtol=0.0, atol=1e-3)


def test_unsuitable_attributes_are_refused(model: LoadedModel) -> None:
    images = random_images(1)
    for other, wanted, message in (
        (model, {"hatt": 1}, "did you mean hat?"),
        (model, None, "expected attributes"),
        (tiny_model(), {"hat": 1}, "unconditional"),
        (tiny_model(num_classes=3), {"hat": 1}, "a class is"),
    ):
        with pytest.raises(ValueError, match=message.replace("?", r"\?")):
            edit_attributes(other, images, wanted)


@pytest.mark.parametrize("conditioning", ["attributes", "classes"])
def test_what_samples_were_drawn_with_is_not_inferred(
    conditioning: str, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if conditioning == "classes":
        model = named(tiny_model(num_classes=4), *"abcd")
    images = model.sample(3, seeds=5)
    own, foreign, unsigned = ({"seed": 5, "given": images.given[0], "model": owner} for owner in (model.hash, "x", "x"))
    del unsigned["model"]
    for name, facts in {"own": own, "foreign": foreign, "unsigned": unsigned, "grid": own | {"count": 3}}.items():
        save_picture(to_pil(images[0]), tmp_path / f"{name}.png", facts)
    rounded = [
        {n: round(v, 3) for n, v in given.items()} if isinstance(given, dict) else given for given in images.given
    ]
    for name, value in {"own": rounded[0], "unsigned": rounded[0], "foreign": None, "grid": None}.items():
        (drawn,) = drawn_with(model, tmp_path / f"{name}.png")
        formatted = [drawn] if drawn is None else model.vocabulary.format(model.vocabulary.parse([drawn], 1))
        assert formatted == [value], name
    latents = model.encode([tmp_path / "own.png", images[1]])
    assert isinstance(latents, Encoded)
    assert model.vocabulary.format(latents.given) == [rounded[0], images.given[1]]
    plain = images.as_subclass(Tensor)
    inferred = model.vocabulary.format(infer(model, plain))[2:]
    mixed = [images[0], images[1], plain[2]]
    assert torch.equal(edit(model, mixed, []), plain)
    assert model.vocabulary.format(infer(model, mixed)) == [*images.given[:2], *inferred]
    monkeypatch.setattr(LoadedModel, "bits_table", None)
    monkeypatch.setattr(AttributeConditioning, "read", lambda _, images: torch.full((len(images), len(KINDS)), 0.5))
    assert model.vocabulary.format(infer(model, images)) == images.given
    assert torch.equal(edit(model, images, []), plain)
    assert torch.equal(interpolate(model, images[:2], 2), plain[:2])
