"""What is counted without values is what a run with values allocates."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import get_args

import pytest
import torch
from torch import nn

from glow_app.bijections import Memory
from glow_app.counted_memory import MAX_QUESTIONS, ShapesOnly, ValuesNeededError
from glow_app.flows import Glow
from glow_app.model import ImageModel
from glow_app.peak_memory import peak_memory

KILOBYTE = 250  # float32 values

narrow = partial(torch.autocast, "cpu", torch.bfloat16)


def step(model: ImageModel, size: int, context: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
    images = torch.zeros(size, *model.flow.image_shape, dtype=torch.uint8)
    with context():
        loss = model(images, torch.zeros(size, dtype=torch.int64)).mean()
    loss.backward()


def test_the_peak_is_that_of_tensors_held_together() -> None:
    def run(model: nn.Module, size: int) -> None:
        first = torch.zeros(size, KILOBYTE)
        second = torch.zeros(2 * KILOBYTE)
        second.add_(1)[:KILOBYTE].view(-1)  # neither is a tensor more
        del first
        third = torch.zeros(size, 2 * KILOBYTE)
        assert second.shape != third.shape

    shapes = ShapesOnly(nn.Linear(1, 1))
    assert shapes.count(run, 7) == (2_000 + 7 * 2_000, 2_000)
    assert shapes.count(run, 1) == (2_000 + 2_000, 2_000)


def test_gradients_count_and_the_model_itself_does_not() -> None:
    model = nn.Linear(10, KILOBYTE, bias=False)
    before = model.weight.clone()

    def run(model: nn.Module, size: int) -> None:
        model.weight.sum().backward()  # type: ignore[operator]

    shapes = ShapesOnly(model)
    # Twice alike: what was left by one run does not count in the next.
    for _ in range(2):
        peak, an_example = shapes.count(run, 100)
        assert 10_000 <= peak < 10_100
        assert an_example == 0
    assert model.weight.grad is None
    assert torch.equal(model.weight, before)


def conditional() -> Glow:
    return Glow((1, 16, 16), 2, 6, 16, num_classes=3)


def colour() -> Glow:
    return Glow((3, 32, 32), 3, 2, 64)


@pytest.mark.parametrize("memory", get_args(Memory))
@pytest.mark.parametrize(("flow", "size"), [(conditional, 32), (colour, 4)])
def test_a_training_step_is_counted_as_measured(flow: Callable[[], Glow], size: int, memory: Memory) -> None:
    torch.manual_seed(0)
    model = ImageModel(flow())
    model.initialize(torch.randint(0, 256, (8, *model.flow.image_shape)).byte(), torch.zeros(8, dtype=torch.int64))
    model.flow.memory = memory

    def measure(size: int) -> int:
        step(model, size)  # what the first step of a process alone holds is not the model's
        found = []
        for _ in range(2):  # the lower one: what other tests have left may be let go, and come anew, meanwhile
            model.zero_grad()
            gc.collect()
            found.append(peak_memory(lambda: step(model, size)))
        return min(found)

    shapes = ShapesOnly(model)
    counted, measured = shapes.count(step, size), measure(size)
    # The kernel of a backward convolution holds the gradient of its weights twice.
    assert counted.peak == pytest.approx(measured, rel=0.04)
    assert counted.an_example == pytest.approx((measure(5 * size) - measured) / (4 * size), rel=0.07)
    # A kernel without bfloat16 arithmetic unfolds its input, so that only the direction is the same everywhere.
    assert shapes.count(partial(step, context=narrow), size).an_example <= counted.an_example


def test_what_depends_on_values_is_refused() -> None:
    def ask(model: nn.Module, size: int, times: int) -> None:
        for _ in range(times):
            assert bool(torch.zeros(1).gt(0))
            assert float(torch.zeros(1)) == int(torch.zeros(1, dtype=torch.int64)) == 0

    def unique(model: nn.Module, size: int) -> None:
        torch.zeros(size).unique()

    shapes = ShapesOnly(nn.Linear(1, 1))
    shapes.count(partial(ask, times=MAX_QUESTIONS // 3), 1)
    for run in (partial(ask, times=MAX_QUESTIONS), unique):
        with pytest.raises(ValuesNeededError, match="depends on the values"):
            shapes.count(run, 1)
