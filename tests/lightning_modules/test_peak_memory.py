"""The peak of a known allocation is what was allocated."""

import pytest
import torch

from lightning_modules.estimate.peak_memory import peak_memory

MEGABYTE = 250_000  # float32 values


def test_the_peak_is_that_of_tensors_held_together() -> None:
    def run() -> None:
        first = torch.zeros(2 * MEGABYTE)
        second = torch.zeros(MEGABYTE)
        del first
        third = torch.zeros(MEGABYTE)
        assert second.shape == third.shape

    assert peak_memory(run) == 3_000_000


def test_what_was_there_before_does_not_count_and_what_is_left_does() -> None:
    held = [torch.zeros(3 * MEGABYTE)]
    assert peak_memory(lambda: held.append(torch.ones(MEGABYTE))) == 1_000_000
    assert peak_memory(held.clear) == 0


def test_backward_passes_count() -> None:
    weight = torch.zeros(MEGABYTE, requires_grad=True)
    found = peak_memory(lambda: (weight.exp().square()).sum().backward())
    assert found >= 3_000_000, "two activations and a gradient"


def test_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="on cpu and cuda, not on meta"):
        peak_memory(lambda: None, "meta")
