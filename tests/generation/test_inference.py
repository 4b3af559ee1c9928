"""Attributes that a model infers from images."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import named, perturb, random_images, tiny_model
from torch import Tensor

from glow_app.conditioning import AttributeConditioning
from glow_app.data.attributes import Kind
from glow_app.generation import drawn_with, edit, edit_attributes, infer, interpolate
from glow_app.models.bits_table import BitsTable
from glow_app.models.loaded_model import LoadedModel
from glow_app.pictures.images import save_png, to_pil
from glow_app.storage.stored_model import model_hash

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


def test_attributes_that_images_show_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(conditioning=AttributeConditioning(KINDS, 4, 6))
    truth = torch.tensor([[1, 0, 0.42, 0.98], [0, 0, 0.0, 0.3], [0, 1, 1.0, 0.01], [1, 1, 0.77, 0.5], [1, 0, 0.1, 0.7]])
    images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(5)

    def bits_table(images: Tensor, given: Tensor, **_: Any) -> BitsTable:
        difference = (given.nan_to_num(0.5) - truth[images[:, 0, 0, 0].long()]).abs()
        difference[:, 3] = torch.minimum(difference[:, 3], 1 - difference[:, 3])
        # Nothing is seen of a smile under the wrong age, so it is found in the second pass.
        difference[difference[:, 2] > 0.1, 0] = 1
        return BitsTable(difference.square().sum(1)[None, None, :, None], 192)

    monkeypatch.setattr(model, "bits_table", bits_table)
    inferred = infer(model, images)
    assert inferred is not None
    assert torch.equal(inferred[:, :2], truth[:, :2])
    assert (inferred[:, 2] - truth[:, 2]).abs().max() < 0.01
    apart = (inferred[:, 3] - truth[:, 3]).abs()
    assert torch.minimum(apart, 1 - apart).max() < 0.01
    known = infer(model, images, [{"age": 0.3, "hat": 1}, *[{}] * 4])
    assert known is not None
    assert known[0, [1, 2]].tolist() == pytest.approx([1, 0.3])
    assert torch.equal(known[1:], inferred[1:])


def test_no_other_answer_is_more_likely(model: LoadedModel) -> None:
    images = random_images(6)
    inferred = infer(model, images)
    assert inferred is not None
    assert torch.equal(infer(model, images[5:]), inferred[5:])  # type: ignore[arg-type]
    for place in range(2):
        other = inferred.clone()
        other[:, place] = 1 - other[:, place]
        likely, unlikely = (bits_of(model, images, values) for values in (inferred, other))
        assert (likely <= unlikely + 1e-6).all()


def bits_of(model: LoadedModel, images: Tensor, given: Tensor) -> Tensor:
    return torch.cat([model.bits_per_dim(image[None], row[None]) for image, row in zip(images, given, strict=True)])


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


def test_each_attribute_is_changed_with_its_own_strength(model: LoadedModel) -> None:
    images, known = random_images(3), read(model, {"smiling": 1, "hat": 0, "age": 0.3, "hue": 0.9}, 3)
    model = deepcopy(model)
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
    own, foreign, unsigned = (
        {"seed": 5, "given": images.given[0], "model": owner} for owner in (model_hash(model), "x", "x")
    )
    del unsigned["model"]
    for name, facts in {"own": own, "foreign": foreign, "unsigned": unsigned, "grid": own | {"count": 3}}.items():
        save_png(to_pil(images[0]), tmp_path / f"{name}.png", facts)
    rounded = [
        {n: round(v, 3) for n, v in given.items()} if isinstance(given, dict) else given for given in images.given
    ]
    for name, value in {"own": rounded[0], "unsigned": rounded[0], "foreign": None, "grid": None}.items():
        (drawn,) = drawn_with(model, tmp_path / f"{name}.png")
        formatted = [drawn] if drawn is None else model.vocabulary.format(model.vocabulary.parse([drawn], 1))
        assert formatted == [value], name
    plain = images.as_subclass(Tensor)
    inferred = model.vocabulary.format(infer(model, plain[2:]))
    mixed = [images[0], images[1], plain[2]]
    assert model.vocabulary.format(infer(model, mixed)) == [*images.given[:2], *inferred]
    monkeypatch.setattr("glow_app.generation.inference._bits", None)
    assert model.vocabulary.format(infer(model, images)) == images.given
    assert torch.equal(edit(model, images, []), plain)
    assert torch.equal(interpolate(model, images[:2], 2), plain[:2])
