from typing import Any

import pytest
import torch
from flow_checks import check_inverse, check_log_det, check_samples
from registry import OtherConditioner, random_images, tiny_context, tiny_glow
from torch import Tensor

from glow_app.bijections import ActNorm, AffineCoupling, Chain, InvertibleConv1x1
from glow_app.conditioning import ClassConditioning
from glow_app.flows import Glow
from glow_app.flows.glow import level_shapes
from glow_app.nn.context import Context
from glow_app.priors import MAFPrior
from glow_app.restoration import Clean, Fill, PictureConditioning
from glow_app.spec import register, spec_of


@register("own-step")
class OwnStep(Chain):
    """Actnorm, 1x1 convolution and a coupling."""

    def __init__(self, channels: int, hidden_channels: int, context_features: int = 0) -> None:
        conditioner = OtherConditioner(channels // 2, 2 * (channels - channels // 2), hidden_channels, context_features)
        super().__init__(ActNorm(channels), InvertibleConv1x1(channels), AffineCoupling(channels, conditioner))


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "one channel": {"image_shape": (1, 8, 8), "num_levels": 3, "num_steps": [1, 2, 1]},
    "not square, one level": {"image_shape": (2, 4, 2), "num_levels": 1},
    "additive, other conditioner": {"coupling": "additive", "conditioner": OtherConditioner},
    "classes, other conditioner": {"conditioning": ClassConditioning, "conditioner": OtherConditioner},
    "own steps": {"step": OwnStep},
    "own steps, classes": {"step": OwnStep, "conditioning": ClassConditioning},
    "picture, additive": {"conditioning": lambda _: PictureConditioning(Fill(), 2, 2), "coupling": "additive"},
}

configurations = pytest.mark.parametrize("name", CONFIGURATIONS)


def built(name: str, num: int = 3) -> tuple[Glow, Tensor, Context]:
    """Return a flow, images and the context of what is known about images."""
    options = {"image_shape": (1, 4, 8), "hidden_channels": 6, "perturbation": 0.05, **CONFIGURATIONS[name]}
    if "conditioning" in options:
        options["conditioning"] = options["conditioning"](3)
    flow = tiny_glow(dtype=torch.float64, **options)
    x = torch.rand(num, *flow.image_shape, dtype=torch.float64) - 0.5
    with torch.no_grad():
        return flow, x, tiny_context(flow, num)


@configurations
def test_both_directions_undo_each_other(name: str) -> None:
    check_inverse(*built(name), tolerance=1e-9)


@configurations
def test_samples_are_those_of_the_density(name: str) -> None:
    flow, x, context = built(name)
    check_samples(flow, x.shape[1:], context, 1e-8)


@configurations
def test_the_log_det_equals_the_jacobians(name: str) -> None:
    check_log_det(*built(name, 1), tolerance=1e-7)


def test_the_first_batch_leaves_nearly_white() -> None:
    torch.manual_seed(0)
    flow = Glow((3, 8, 8), 2, 2, 8)
    x = 0.2 * torch.rand(64, 3, 8, 8) + torch.tensor([0.0, 0.1, 0.3])[:, None, None]
    flow.initialize(x)
    for latent in flow.encode(x):
        assert latent.mean().abs() < 0.2
        assert 0.6 < latent.std() < 1.5


def test_images_of_other_sizes_are_coded_exactly() -> None:
    flow = tiny_glow((3, 8, 8), dtype=torch.float64, perturbation=0.05)
    check_inverse(flow, torch.rand(2, 3, 12, 20, dtype=torch.float64) - 0.5, None, 1e-9)


def test_a_context_of_another_size_is_refused() -> None:
    flow = tiny_glow((3, 8, 8), conditioning=PictureConditioning(Clean()))
    with pytest.raises(ValueError, match="expects a context of shape"):
        flow.log_prob(torch.zeros(2, 3, 8, 8), flow.conditioning(random_images(2, (3, 16, 8))))


def test_other_sizes_need_a_prior_without_a_size_and_sides_that_can_be_halved() -> None:
    with pytest.raises(ValueError, match="with a Gaussian prior"):
        tiny_glow((3, 8, 8), prior=MAFPrior).latent_shapes_at(16, 8)
    with pytest.raises(ValueError, match="height is 10 and width is 8; expected multiples of 4"):
        tiny_glow((3, 8, 8)).latent_shapes_at(10, 8)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"num_levels": 4}, {"image_shape": (3, 9, 8)}, {"hidden_channels": 0}, {"coupling": "spline"}),
        *({"num_steps": num_steps} for num_steps in (0, [1, 2, 3], [1, 0])),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{list(arguments)[-1]} is .*[;:]"):
        Glow(**{"image_shape": (3, 8, 8), "num_levels": 2, "num_steps": 1, "hidden_channels": 4, **arguments})  # type: ignore[arg-type]


def test_own_steps_are_registered() -> None:
    flow = Glow((3, 8, 8), 2, 1, 8, step=lambda channels, hidden_channels, context_features: ActNorm(channels))
    with pytest.raises(TypeError, match=r"lambda.* is not registered"):
        spec_of(flow)


def test_images_and_latents_of_other_shapes_are_refused() -> None:
    flow = tiny_glow((3, 8, 8), prior=MAFPrior)
    for shape in ((2, 3, 8, 4), (2, 1, 8, 8), (3, 8, 8)):
        with pytest.raises(ValueError, match=r"expected images of shape|height is"):
            flow(torch.zeros(shape))
    good = [torch.zeros(2, *shape) for shape in flow.latent_shapes]
    for bad in (good[:1], good[::-1], [], [good[0], good[1][:, :, :1]], [good[0], good[1][:1]]):
        with pytest.raises(ValueError, match="expected"):
            flow.inverse(bad)


def test_shapes_inside_the_levels() -> None:
    assert level_shapes((3, 32, 32), 3) == [(12, 16, 16), (24, 8, 8), (48, 4, 4)]
    assert level_shapes((1, 8, 24), 3) == [(4, 4, 12), (8, 2, 6), (16, 1, 3)]


@pytest.mark.parametrize(
    ("shape", "num_levels", "message"),
    [
        *(((3, 8, 24), 4, "from 1 to 3"), ((3, 28, 6), 2, "from 1 to 1"), ((3, 32, 32), 0, "from 1 to 5")),
        *(((3, 7, 8), 1, "even"), ((8, 8), 1, "expected"), ((0, 8, 8), 1, "at least 1"), ((3, 8, -8), 1, "at least 1")),
    ],
)
def test_an_invalid_shape_is_refused(shape: tuple[int, ...], num_levels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        level_shapes(shape, num_levels)
