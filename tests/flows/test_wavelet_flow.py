"""The wavelet flow: exact on whole images, and estimated from windows in training."""

import math

import pytest
import torch
from flow_checks import check_inverse, check_log_det, check_samples
from registry import OtherConditioner, tiny_context, tiny_wavelet_flow
from torch import Tensor

from glow_app.bijections import Haar
from glow_app.conditioning import ClassConditioning
from glow_app.flows import WaveletFlow
from glow_app.flows.detail_flow import DetailFlow
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import Context
from glow_app.priors import MAFPrior
from glow_app.restoration import Clean, PictureConditioning
from glow_app.running import choose_runners

KINDS: dict[str, dict[str, object]] = {
    "colour": {"image_shape": (3, 8, 8)},
    "grey, not square, additive": {"image_shape": (1, 16, 8), "coupling": "additive"},
    "classes, other conditioner, MAF": {
        "image_shape": (1, 8, 8),
        "conditioning": ClassConditioning(3, 4),
        "conditioner": OtherConditioner,
        "prior": MAFPrior,
    },
}

kinds = pytest.mark.parametrize("kind", KINDS)


def built(kind: str, num: int) -> tuple[WaveletFlow, Tensor, Context]:
    flow = tiny_wavelet_flow(dtype=torch.float64, **KINDS[kind])  # type: ignore[arg-type]
    x = torch.rand(num, *flow.image_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5
    with torch.no_grad():
        return flow, x, tiny_context(flow, num)


@kinds
def test_both_directions_undo_each_other(kind: str) -> None:
    with torch.no_grad():
        check_inverse(*built(kind, 3), tolerance=1e-8)


@kinds
def test_samples_are_those_of_the_density(kind: str) -> None:
    flow, x, context = built(kind, 3)
    check_samples(flow, x.shape[1:], context, 1e-7)


@kinds
def test_the_log_det_equals_the_jacobians(kind: str) -> None:
    check_log_det(*built(kind, 1), tolerance=1e-7)


def test_images_of_other_sizes_are_coded_exactly_and_images_do_not_affect_each_other() -> None:
    flow, _, _ = built("colour", 1)
    x = torch.rand(3, 3, 24, 16, dtype=torch.float64) - 0.5
    check_inverse(flow, x, None, 1e-8)
    torch.testing.assert_close(flow.log_prob(x)[1:2], flow.log_prob(x[1:2]), rtol=1e-12, atol=1e-9)


@kinds
def test_windows_as_large_as_the_image_give_its_log_density(kind: str) -> None:
    flow, x, context = built(kind, 4)
    coarse, details = flow.detail_log_prob(x, context)
    torch.testing.assert_close(details + flow.coarse_log_prob(coarse, context), flow.log_prob(x, context))


def test_means_that_training_sees_whole_have_a_density_of_their_own() -> None:
    flow, x, context = built("colour", 4)
    flow.window = 2  # of the 4x4 and 2x2 details
    coarse, _ = flow.detail_log_prob(x, context)
    torch.testing.assert_close(coarse, Haar.low_band(x))
    torch.testing.assert_close(flow.coarse_log_prob(coarse, context), flow.log_prob(coarse, context))


def test_windows_estimate_the_log_density_without_bias() -> None:
    """Of a flow whose steps see one pixel at a time, so that windows have no borders."""
    flow, _, _ = built("colour", 1)
    for name, parameter in flow.named_parameters():
        if parameter.shape[2:] == (3, 3) and "level." in name:  # convolutions of the steps, not of the feature maps
            middle = parameter.detach()[:, :, 1:2, 1:2].clone()
            parameter.data.zero_()
            parameter.data[:, :, 1:2, 1:2] = middle
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64) - 0.5
    flow.window, flow.images_per_window, num = 2, [3, 2], 600
    with torch.no_grad():
        exact = flow.log_prob(x)
        coarse, details = flow.detail_log_prob(x.expand(num, -1, -1, -1), None, torch.Generator().manual_seed(0))
        estimates = details + flow.coarse_log_prob(coarse)
    assert (details == 0).sum() == num / 2  # the coarser level shows a window of every second image
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / math.sqrt(num)


def test_feature_maps_of_a_window_are_those_of_the_image() -> None:
    flow, _, _ = built("colour", 1)
    x = torch.rand(6, 3, 64, 64, dtype=torch.float64) - 0.5
    flow.window = 8
    with torch.no_grad():
        prior = flow.split_priors[0]
        assert isinstance(prior, DetailFlow)
        low = Haar.low_band(x)
        whole = prior.feature_maps(low)
        places = [[0.0, 0.0], [0.5, 0.5], [0.99, 0.99], [0.1, 0.9], [0.0, 0.7], [0.3, 0.2]]
        details, maps = flow._window(prior, x, low, None, places)
    for number, (down, right) in enumerate(places):
        top, left = int(down * 25), int(right * 25)
        part = (slice(number, number + 1), slice(None), slice(top, top + 8), slice(left, left + 8))
        torch.testing.assert_close(maps[part[:1]], whole[part], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(details[part[:1]], Haar()(x)[0][:, 3:][part])


def test_each_level_has_the_gradient_of_its_own_bits_per_dim() -> None:
    flow, x, _ = built("colour", 4)
    flow.log_prob(x).mean().backward()
    whole = {name: parameter.grad for name, parameter in flow.named_parameters()}
    flow.zero_grad(set_to_none=True)
    coarse, details = flow.detail_log_prob(x)
    (details + flow.coarse_log_prob(coarse)).mean().backward()
    factors = {"split_priors.0": 4 / 3, "split_priors.1": 16 / 3, "levels.2": 16.0, "prior": 16.0}
    for name, parameter in flow.named_parameters():
        factor = next(factor for part, factor in factors.items() if name.startswith(part))
        torch.testing.assert_close(parameter.grad, torch.mul(whole[name], factor))  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", ["store", "checkpoint"])
def test_runners_give_the_gradients_of_the_bijections(memory: str) -> None:
    gradients: list[list[Tensor | None]] = []
    for flow, x, context in (built("colour", 3), built("colour", 3)):
        if gradients:
            choose_runners(flow, memory)  # type: ignore[arg-type]
        flow.log_prob(x, context).sum().backward()
        gradients.append([parameter.grad for parameter in flow.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (3, 12, 8)}, "with 2 detail levels, height and width must be multiples of 8"),
        ({"detail_channels": [4]}, "detail_channels is .4.; expected"),
        ({"conditioning": PictureConditioning(Clean())}, "feature maps"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_wavelet_flow(**arguments)  # type: ignore[arg-type]


@kinds
@torch.no_grad()
def test_each_band_is_a_model_of_its_own(kind: str) -> None:
    flow, x, context = built(kind, 3)
    low = Haar.low_band(x)
    check_inverse(flow, low, context, 1e-8)
    details = flow.level_log_probs(x, context)[:, 0]
    torch.testing.assert_close(flow.log_prob(low, context) + details, flow.log_prob(x, context))
    latents = flow.encode(x, context)
    torch.testing.assert_close(flow.decode(latents[1:], context), low, rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="expected latents"):
        flow.decode(latents[3:], context)


def test_a_smaller_picture_of_a_seed_is_the_same_picture() -> None:
    model = ImageModel(tiny_wavelet_flow(), 8).eval()
    noise, small = (model.base_noise([3, 4], [1.0, 0.8, 0.5], size) for size in (None, (4, 4)))
    values = model.decode_values(noise, None)
    torch.testing.assert_close(model.decode_values(small, None), Haar.low_band(values))
    assert model.sample(2, seeds=3, size=(2, 2)).shape == (2, 3, 2, 2)
