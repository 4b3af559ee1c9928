"""Properties of every kind of conditioning, of those in ``CONDITIONINGS`` of ``tests/registry.py``."""

import json
import math
from inspect import signature
from pathlib import Path

import pytest
import torch
from flow_checks import check_log_det
from registry import CONDITIONINGS, labels_for, perturb, random_images, tiny_context, tiny_given, tiny_glow, tiny_model
from torch import Tensor

from glow_app.conditioning import Conditioning, Given, Unconditional
from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import Context, rows_of
from glow_app.pipeline import measure
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.pipeline.sampling import guidance_change
from glow_app.spec import REGISTRY, spec_of
from glow_app.storage.model_config import build_model
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model
from lightning_modules.image_module import ImageModule

kinds = pytest.mark.parametrize("kind", CONDITIONINGS)


def test_the_registries_hold_every_kind() -> None:
    kinds = {cls for cls in Conditioning.__subclasses__() if cls.__module__.startswith("glow_app.")}
    registered = {type(tiny_glow(conditioning=build()).conditioning) for build in CONDITIONINGS.values()}
    assert kinds == registered
    assert kinds <= set(REGISTRY.values())


@kinds
def test_the_configuration_contains_every_argument(kind: str) -> None:
    conditioning = tiny_glow(conditioning=CONDITIONINGS[kind]()).conditioning
    arguments = signature(type(conditioning)).parameters if CONDITIONINGS[kind]() else ()
    assert set(spec_of(conditioning)) == {"type", *arguments}


def test_a_kind_that_is_not_registered_is_refused_before_training() -> None:
    class Scaled(Conditioning):
        features = 1

        def __init__(self, scale: float = 1.0) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(scale))

        def forward(self, given: Tensor) -> Tensor:
            return self.scale * given

    with pytest.raises(TypeError, match="Scaled is not registered"):
        ImageModule(Glow((1, 4, 4), 1, 1, 4, conditioning=Scaled(7.0)))


NUM = 3


def built(kind: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
    model = tiny_model(hidden_channels=6, dtype=dtype, perturbation=0.0, conditioning=CONDITIONINGS[kind]())
    return perturb(model, 1, 0.03)


def given_of(model: ImageModel, num: int = NUM, seed: int = 0) -> Tensor | None:
    given: Tensor | None = tiny_given(model.flow, num, seed)
    return given


def maps_of(context: Context) -> list[Tensor]:
    """Return the parts of a context: none, the vectors, or a feature map per level."""
    return [] if context is None else [context] if isinstance(context, Tensor) else list(context)


def equal(one: Context, other: Context) -> bool:
    pairs = list(zip(maps_of(one), maps_of(other), strict=True))
    return all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in pairs)


def rows(given: Given, part: slice) -> Given:
    return None if given is None else given[part]


@kinds
def test_the_context_has_the_shapes_that_the_flow_expects(kind: str) -> None:
    model = built(kind)
    features, levels = model.conditioning.features, model.flow.latent_shapes
    context = model.context(given_of(model), NUM)
    if isinstance(features, int):
        shapes = [(NUM, features)] if features else []
    else:
        shapes = [(NUM, channels, 8 >> n, 8 >> n) for n, channels in enumerate(features, 1)]  # type: ignore[misc]
        assert len(shapes) == len(levels)
    assert [tuple(part.shape) for part in maps_of(context)] == shapes
    assert all(part.dtype == model.dtype for part in maps_of(context))
    assert all(part.dtype == torch.float64 for part in maps_of(model.double().context(given_of(model), NUM)))


@kinds
def test_what_was_read_and_its_plain_form_are_read_again(kind: str) -> None:
    vocabulary = built(kind).vocabulary
    given = given_of(built(kind))
    assert vocabulary.parse(None, NUM) is None
    assert vocabulary.format(None) == []
    if given is None:
        return
    assert torch.equal(vocabulary.parse(given, NUM), given)  # type: ignore[arg-type]
    plain = json.loads(json.dumps(vocabulary.format(given)))
    assert len(plain) in (0, NUM)
    if plain:
        one_each, for_all = vocabulary.parse(plain, NUM), vocabulary.parse(plain[1], NUM)
        assert one_each is not None
        assert for_all is not None
        assert one_each.dtype == given.dtype
        assert torch.equal(one_each, given)
        assert torch.equal(for_all, given[1:2].expand(NUM, *given.shape[1:]))
    with pytest.raises(ValueError, match=r"\w"):
        vocabulary.parse(given[:2], NUM)


@kinds
def test_images_do_not_depend_on_the_others_of_their_batch(kind: str) -> None:
    model = built(kind, torch.float64)
    given, images = given_of(model), random_images(NUM)
    context, latents = model.context(given, NUM), model.encode(images, given)
    for index in range(NUM):
        part = slice(index, index + 1)
        alone = model.context(rows(given, part), 1)
        for actual, expected in zip(maps_of(alone), maps_of(rows_of(context, part)), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
        for one, all_levels in zip(model.encode(images[part], rows(given, part)), latents, strict=True):
            torch.testing.assert_close(one, all_levels[part], rtol=1e-9, atol=1e-9)


@kinds
def test_a_model_is_rebuilt_from_plain_types_and_weights_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    model, images = built(kind), random_images(NUM)
    given = given_of(model)
    expected = [*model.encode(images, given), model.sample(NUM, seeds=4, given=given)]
    save_pretrained(model, tmp_path / "model")
    plain = json.loads(json.dumps(model.config))
    for again in (build_model(plain, model.state_dict()).eval(), load_model(tmp_path / "model")):
        assert isinstance(again, ImageModel)
        assert again.config == model.config
        assert again.hash == model.hash
        assert type(again.conditioning) is type(model.conditioning)
        for one in (again, again.freeze()):
            actual = [*one.encode(images, given), one.sample(NUM, seeds=4, given=given)]
            assert all(map(torch.equal, actual, expected))
        assert model.vocabulary.format(given) == again.vocabulary.format(given)


@kinds
def test_images_come_back_exactly(kind: str) -> None:
    model = LoadedModel(built(kind).flow, 5).eval()
    black = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    images = torch.cat([random_images(14), black, 255 - black])
    given = given_of(model, 16)
    for narrow in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            assert torch.equal(model.decode(model.encode(images, given), given), model.quantised(images))


@kinds
def test_what_is_given_changes_the_density_and_the_samples(kind: str) -> None:
    model, images = built(kind), random_images(1)
    if model.conditioning.features == 0:
        pytest.skip("nothing can be given")
    both = given_of(model, 2, 5)
    ends = [rows(both, slice(0, 1)), rows(both, slice(1, 2))]
    bits = [model.bits_per_dim(images, end, generator=torch.Generator()) for end in ends]
    assert float((bits[0] - bits[1]).abs()) > 1e-5
    assert not torch.equal(*(model.sample(1, 1.0, seeds=0, given=end) for end in ends))


@kinds
def test_one_row_serves_all_images(kind: str) -> None:
    model, images = built(kind), random_images(NUM)
    given = rows(given_of(model), slice(0, 1))
    if given is None:
        pytest.skip("nothing can be given")
    [value] = model.vocabulary.format(given) or [given]
    each = given.expand(NUM, *given.shape[1:])
    for one, other in zip(model.encode(images, value), model.encode(images, each), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    actual, expected = measure(model, images, value), measure(model, images, each)
    torch.testing.assert_close(actual.bits_per_dim, expected.bits_per_dim, rtol=1e-4, atol=1e-4)
    assert actual.given is not None
    assert torch.equal(actual.given, each.cpu())
    drawn = model.sample(NUM, seeds=2, given=value)
    assert (drawn.int() - model.sample(NUM, seeds=2, given=each).int()).abs().max() <= 1
    assert drawn.given in ([], [value] * NUM)


@kinds
def test_without_a_value_it_averages_uses_a_default_or_names_what_is_missing(kind: str) -> None:
    model, images = built(kind, torch.float64), random_images(NUM)
    conditioning, vocabulary, seeds = model.conditioning, model.vocabulary, [7, 3, 5]

    def bits(given: Given) -> Tensor:
        return model.bits_per_dim(images, given, generator=torch.Generator().manual_seed(0))

    try:
        default = vocabulary.default(seeds)
    except ValueError:
        with pytest.raises(ValueError, match=r"\w"):
            model.sample(NUM, seeds=seeds)
    else:
        drawn = model.sample(NUM, seeds=seeds)
        assert torch.equal(drawn, model.sample(NUM, seeds=seeds, given=default))
        assert drawn.given == vocabulary.format(default)
        # The default of a seed does not depend on the other seeds.
        for number, seed in enumerate(seeds):
            assert equal(vocabulary.default([seed]), rows(default, slice(number, number + 1)))
    if num_values := len(vocabulary.values):
        nats = torch.stack([-model.num_dims * math.log(2) * bits(value) for value in vocabulary.values])
        mixture = -(nats.logsumexp(0) - math.log(num_values)) / (model.num_dims * math.log(2))
        torch.testing.assert_close(bits(None), mixture)
    if isinstance(conditioning, Unconditional):
        with pytest.raises(ValueError, match="unconditional"):
            bits(0)
    try:
        unknown = conditioning.unknown(NUM)
    except ValueError:
        unknown = []
    if len(unknown) == 1:
        assert torch.equal(bits(None), bits(unknown[0]))
    else:
        with pytest.raises(ValueError, match=r"give|given"):
            ImageModel.encode(model, images)
        with pytest.raises(ValueError, match=r"give|given"):
            model(images)


@kinds
def test_guidance_is_refused_or_one_is_the_model_itself(kind: str) -> None:
    model = built(kind, torch.float64)
    given = given_of(model)
    if not model.conditioning.guided:
        with pytest.raises(ValueError, match=r"guidance is 1\.5, but this model takes none"):
            model.sample(NUM, seeds=0, given=given, guidance=1.5)
        return
    assert given is not None
    drawn = model.sample(NUM, seeds=0, given=given, guidance=2)
    assert torch.equal(drawn, model.sample(NUM, seeds=0, given=model.vocabulary.format(given), guidance=2))
    assert not torch.equal(drawn, model.sample(NUM, seeds=0, given=given, guidance=1))
    far, mixed = guidance_change(model, given, 2.0), guidance_change(model, given, [1.0, 2.0, 1.0])
    assert far is not None
    assert torch.equal(far, model.conditioning.guidance(given.to(far) if given.is_floating_point() else given, given))
    assert torch.equal(mixed, torch.stack([0 * far[0], far[1], 0 * far[2]]))  # type: ignore[arg-type]
    for guidance in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"guidance is .*; expected a number from 0 to"):
            model.sample(NUM, seeds=0, given=given, guidance=guidance)


@kinds
def test_the_log_det_is_that_of_the_jacobian(kind: str) -> None:
    options = {"dtype": torch.float64, "perturbation": 0.05, "conditioning": CONDITIONINGS[kind]()}
    flow = tiny_glow((3, 4, 4), 2, 1, 4, **options).requires_grad_(False)  # type: ignore[arg-type]
    x, context = torch.rand(1, 3, 4, 4, dtype=torch.float64) - 0.5, tiny_context(flow, 1)
    check_log_det(flow, x, context, tolerance=1e-8)


@kinds
def test_training_moves_every_parameter(kind: str) -> None:
    model = built(kind, torch.float64).train()
    images = random_images(16)
    labels = labels_for(model.conditioning, 16)
    given = model.conditioning.observe(images, labels, torch.Generator().manual_seed(0))
    model(images, given).mean().backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    # The encoder of a picture learns from its estimate, all but its heads, and the reader of attributes from its loss.
    others = {name for name in still if (".encoder." not in name and ".reader." not in name) or ".heads." in name}
    assert others == set()
