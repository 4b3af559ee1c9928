"""What is read of an archive is what ``torch.load`` would return; tests/test_security.py has what is refused."""

import gc
import io
import weakref
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glow_app.storage.archive import ArchiveError, read_archive


def both(content: Any) -> tuple[Any, Any]:
    """Return what this reader and torch's make of a content."""
    file = io.BytesIO()
    torch.save(content, file)
    read = read_archive(file)
    file.seek(0)
    return read, torch.load(file, weights_only=True)


def assert_same(read: Any, expected: Any) -> None:
    assert type(read) is type(expected)
    if isinstance(expected, Tensor):
        assert (read.dtype, read.shape, read.stride()) == (expected.dtype, expected.shape, expected.stride())
        assert read.storage_offset() == expected.storage_offset()
        assert torch.equal(read, expected)
    elif isinstance(expected, dict):
        assert list(read) == list(expected)
        assert not getattr(read, "__dict__", {})  # the versions of modules, which are left out
        for key in expected:
            assert_same(read[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(read) == len(expected)
        for one, other in zip(read, expected, strict=True):
            assert_same(one, other)
    else:
        assert read == expected


def test_tensors_of_all_kinds() -> None:
    numbers = torch.arange(24.0)
    dtypes = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)
    shapes = (numbers[3:9], numbers.view(4, 6).t(), numbers[::2], numbers[5], torch.empty(0), torch.empty(3, 0, 2))
    assert_same(*both([*(numbers.to(dtype) for dtype in dtypes), numbers.to(torch.uint8), numbers > 7, *shapes]))


def test_what_a_training_keeps_beside_its_weights() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(network.parameters(), amsgrad=True)
    network(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 5])
    content = {
        "state_dict": network.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        "facts": {"size": torch.Size([1, 2]), "devices": [torch.device("cpu"), torch.device("cuda", 1)]},
        "numbers": (None, True, -5, 1 << 70, 0.5, "é", torch.bfloat16, {7: OrderedDict(a=1)}),
    }
    read, expected = both(content)
    assert_same(read, expected)
    network.load_state_dict(read["state_dict"], assign=True)
    optimizer.load_state_dict(read["optimizer_states"][0])
    optimizer.step()  # into what was read


def test_a_parameter_is_read_as_its_numbers() -> None:
    read, expected = both(nn.Parameter(torch.ones(2)))
    assert_same(read, expected.data)


def test_tensors_own_their_memory_and_share_it_as_they_did() -> None:
    numbers = torch.arange(6.0)
    read, _ = both([numbers, numbers[2:4], torch.ones(3)])
    read[0].mul_(2)
    assert read[1].tolist() == [4, 6]
    assert all(tensor.untyped_storage().data_ptr() % 64 == 0 for tensor in read)


def test_memory_is_free_as_soon_as_nobody_needs_it() -> None:
    gc.collect()
    gc.disable()
    try:
        read, _ = both({"a": torch.ones(3), "b": OrderedDict(c=torch.ones(4))})
        tensors = [weakref.ref(tensor) for tensor in (read["a"], read["b"]["c"])]
        del read
        assert [tensor() for tensor in tensors] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("content", [torch.ones(2, dtype=torch.complex64), torch.eye(3).to_sparse(), {1}, b"bytes"])
def test_anything_else_is_refused(content: object) -> None:
    file = io.BytesIO()
    torch.save(content, file)
    with pytest.raises(ArchiveError, match="holds code"):
        read_archive(file)


def test_signs_are_not_lost() -> None:
    file = io.BytesIO()
    torch.save(torch.ones(2, dtype=torch.complex64).conj().imag, file)  # torch sets the sign when it is read
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_archive(file)
