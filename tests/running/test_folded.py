"""A model with its weights folded computes what it computes without, to the last bit."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from registry import OtherConditioner, perturb, random_images, tiny_given, tiny_model, tiny_restorer, tiny_wavelet_flow
from torch import Tensor

from glow_app.conditioning import ClassConditioning
from glow_app.models.image_model import ImageModel
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.priors import MAFPrior
from glow_app.restoration import Colourise

MODELS: dict[str, Callable[[], ImageModel]] = {
    "affine": tiny_model,
    "affine, classes": partial(tiny_model, num_classes=4),
    "additive": partial(tiny_model, coupling="additive"),
    "other conditioner": partial(tiny_model, conditioner=OtherConditioner),
    "MAF": partial(tiny_model, prior=MAFPrior),
    "wavelet flow": lambda: LoadedModel(tiny_wavelet_flow(conditioning=ClassConditioning(3)), num_bits=5).eval(),
    "restorer": lambda: tiny_restorer(Colourise()),
}


def results(model: ImageModel) -> list[Tensor]:
    images, given = random_images(3, model.flow.image_shape), tiny_given(model.flow, 3)
    latents = model.encode(images, given)
    bits = model.bits_table(images, given, generator=torch.Generator()).level_bits
    return [*latents, model.decode(latents, given), model(images, given, generator=torch.Generator()), bits]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_frozen_model_is_the_same_to_the_last_bit(name: str, autocast: bool) -> None:
    model = perturb(MODELS[name](), seed=1, size=0.03)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = results(model)
        model.freeze()
        assert model.fastest_flow is not model.flow
        folded = results(model)
    assert all(torch.equal(one, other) for one, other in zip(folded, expected, strict=True))


def test_a_frozen_model_follows_weights_that_are_loaded_or_moved() -> None:
    model, other = tiny_model(), perturb(tiny_model(), seed=2, size=0.05)
    latents = model.base_noise([1, 2])
    names = list(model.state_dict())
    model.freeze().load_state_dict(other.state_dict())
    assert list(model.state_dict()) == names
    assert torch.equal(model.decode(latents), other.decode(latents))
    model.freeze().double()
    assert model.encode(random_images(1, model.flow.image_shape))[0].dtype == torch.float64
