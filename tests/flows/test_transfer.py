"""Levels of one flow as the start of another."""

from typing import Any

import pytest
import torch
from registry import tiny_glow, tiny_wavelet_flow
from torch import Tensor

from glow_app.bijections import Haar
from glow_app.conditioning import ClassConditioning
from glow_app.flows import Glow, WaveletFlow
from glow_app.flows.transfer import copy_levels
from glow_app.nn import DataDependentAffine
from glow_app.priors import MAFPrior
from glow_app.spec import build, spec_of

SHAPE = (3, 16, 16)


def source(**options: Any) -> Glow:
    return tiny_glow(SHAPE, 3, [2, 1, 1], dtype=torch.float64, perturbation=0.05, **options)


def fresh(shape: tuple[int, int, int] = SHAPE, num_levels: int = 3, **options: Any) -> Glow:
    torch.manual_seed(1)
    steps = [2, 1, 1, 1][:num_levels]
    return Glow(shape, num_levels, **{"num_steps": steps, "hidden_channels": 8, **options}).double()


def batch(*shape: int) -> Tensor:
    return torch.rand(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 0.5


def initialized(flow: Glow) -> list[bool]:
    """Return for each level whether all of it is initialised."""
    parts = ([part for part in level.modules() if isinstance(part, DataDependentAffine)] for level in flow.levels)
    return [all(bool(part.initialized) for part in level) for level in parts]


@pytest.mark.parametrize("size", [(8, 24), (32, 16)])
def test_images_of_another_size_have_the_density_of_the_source_at_that_size(size: tuple[int, int]) -> None:
    given, flow, x = source(), fresh((3, *size)), batch(3, *size)
    assert copy_levels(flow, given) == 3
    assert torch.equal(flow.log_prob(x), given.log_prob(x))


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
def test_all_classes_begin_with_the_density_of_the_source(size: tuple[int, int]) -> None:
    given, flow, x = source(), fresh((3, *size), conditioning=ClassConditioning(3)), batch(3, *size)
    assert copy_levels(flow, given) == 3
    for number in range(3):
        context = flow.conditioning(torch.full((len(x),), number))
        torch.testing.assert_close(flow.log_prob(x, context), given.log_prob(x), rtol=1e-12, atol=1e-9)
    # Training can tell the classes apart from the first step.
    flow.log_prob(x, flow.conditioning(torch.zeros(len(x), dtype=torch.long))).sum().backward()
    shifts = [p.grad for name, p in flow.named_parameters() if "from_context" in name]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in shifts)


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize(
    ("options", "num_taken", "num_equal"),
    [
        ({"num_levels": 4}, 3, 2),  # the last level of the source had a top prior in place of a split prior
        ({"num_levels": 2}, 2, 1),  # the last level of the target has no split prior
        ({"num_steps": [2, 1, 2]}, 2, 2),
        ({"prior": MAFPrior}, 3, 2),
    ],
)
def test_the_rest_starts_from_a_whitening(
    options: dict[str, Any], num_taken: int, num_equal: int, num_classes: int
) -> None:
    conditioning = ClassConditioning(num_classes) if num_classes else None
    given, flow, x = source(), fresh(conditioning=conditioning, **options), batch(*SHAPE)
    assert copy_levels(flow, given) == num_taken
    assert initialized(flow) == [True] * num_taken + [False] * (len(flow.levels) - num_taken)
    before = {name: tensor.clone() for name, tensor in flow.levels[:num_taken].state_dict().items()}
    context = flow.conditioning(torch.zeros(len(x), dtype=torch.long)) if num_classes else None
    flow.initialize(x, context)
    assert all(initialized(flow))
    assert all(torch.equal(tensor, before[name]) for name, tensor in flow.levels[:num_taken].state_dict().items())
    found, expected = flow.level_log_probs(x, context)[:, :num_equal], given.level_log_probs(x)[:, :num_equal]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    "options", [{"shape": (1, 16, 16)}, {"num_steps": 3}, {"hidden_channels": 6}, {"coupling": "additive"}], ids=str
)
def test_a_model_that_does_not_fit_is_left_as_it_is(options: dict[str, Any]) -> None:
    flow, same = fresh(**options), fresh(**options)
    assert copy_levels(flow, source()) == 0
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in flow.state_dict().items())
    with pytest.raises(ValueError, match="the same or nothing"):
        copy_levels(flow, source(num_classes=2))


def test_a_context_that_both_take_is_copied_too() -> None:
    given, flow, x = source(num_classes=2), fresh((3, 8, 24), conditioning=ClassConditioning(2)), batch(3, 8, 24)
    assert copy_levels(flow, given) == 3
    of_both = [each.conditioning(torch.ones(len(x), dtype=torch.long)) for each in (flow, given)]
    assert torch.equal(flow.log_prob(x, of_both[0]), given.log_prob(x, of_both[1]))


def test_a_larger_wavelet_flow_takes_the_coarse_levels_of_a_smaller_one() -> None:
    given = tiny_wavelet_flow(dtype=torch.float64)
    sizes = {"image_shape": [3, 16, 16], "detail_steps": [3, 1, 2], "detail_features": [4, 4, 5]}
    classes = {"type": "classes", "num_classes": 3}
    flow = build({**spec_of(given), **sizes, "conditioning": classes}, WaveletFlow).double()
    assert copy_levels(flow, given) == 3  # the Glow, and two levels of details
    x = batch(3, 16, 16)
    flow.initialize(x, context := flow.conditioning(torch.ones(len(x), dtype=torch.int64)))
    low_log_prob = flow.level_log_probs(x, context)[:, 1:].sum(1)
    torch.testing.assert_close(low_log_prob, given.log_prob(Haar.low_band(x)), rtol=1e-12, atol=1e-9)
    other = build({**spec_of(flow), "num_steps": 2}, WaveletFlow).double()
    assert copy_levels(other, given) == 0
    assert copy_levels(other, source()) == 0
