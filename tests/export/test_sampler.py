"""The sampler draws what its model draws, in any one graph that torch.export can hold."""

from functools import partial
from typing import Any

import pytest
import torch
from registry import OtherConditioner, tiny_model
from torch import Tensor

from glow_app.export import Sampler, program
from glow_app.models.image_model import ImageModel
from glow_app.priors import CNFPrior, GaussianPrior, IAFPrior, MAFPrior, PlanarPrior

MODELS: dict[str, dict[str, Any]] = {
    "conv, affine": {},
    "conv, additive, one bit": {"coupling": "additive", "num_bits": 1, "image_shape": (1, 8, 4)},
    "other conditioner, classes": {"conditioner": OtherConditioner, "num_classes": 3, "num_bits": 5},
    "three levels, not square": {"image_shape": (2, 8, 24), "num_levels": 3, "num_steps": [1, 2, 1]},
    "conv, classes, one level": {"num_classes": 4, "num_levels": 1, "image_shape": (1, 6, 10)},
    "float64": {"dtype": torch.float64, "num_classes": 2},
    "low rank": {"prior": partial(GaussianPrior, rank=3)},
    "IAF": {"prior": partial(IAFPrior, hidden_features=8), "num_classes": 3},
    "IAF, spline": {"prior": partial(IAFPrior, hidden_features=8, elementwise="spline")},
    "MAF": {"prior": partial(MAFPrior, hidden_features=8, max_groups=3, num_layers=1), "num_classes": 3},
}


def inputs(model: ImageModel, num: int, temperature: float = 1.0) -> tuple[list[Tensor], Tensor | None]:
    return model.base_noise(range(num), temperature), model.vocabulary.default(range(num))


@pytest.mark.parametrize("name", MODELS)
def test_the_sampler_draws_what_the_model_draws(name: str) -> None:
    model = tiny_model(**MODELS[name])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = Sampler(model)
    for num in (1, 4):
        assert torch.equal(drawn(*inputs(model, num)), model.decode(*inputs(model, num)))
    # The model is left as it was, and trainable.
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in drawn.parameters())


@pytest.mark.parametrize("prior", [partial(PlanarPrior, num_layers=1), partial(CNFPrior, hidden_features=4)])
def test_priors_that_iterate_are_refused(prior: Any) -> None:
    with pytest.raises(ValueError, match="Prior is inverted by iteration"):
        Sampler(tiny_model(prior=prior))


def test_priors_of_too_many_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "MAX_STEPS", 17)
    # Two layers of nine steps.
    with pytest.raises(ValueError, match="draws in 18 steps, but a graph has at most 17"):
        Sampler(tiny_model(prior=partial(MAFPrior, hidden_features=8)))
    Sampler(tiny_model(prior=partial(MAFPrior, hidden_features=8, max_groups=3)))
    Sampler(tiny_model(prior=partial(IAFPrior, hidden_features=8)))
