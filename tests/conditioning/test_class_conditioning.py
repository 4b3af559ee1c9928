"""Classes as what is given: by name and number, with guidance, and as the data of a training names them."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from glow_app.conditioning import ClassConditioning
from glow_app.data.image_set import ImageSet

NAMES = ("cat", "dog", "owl")


def built(names: Sequence[str] = NAMES, num_classes: int = 3) -> ClassConditioning:
    conditioning = ClassConditioning(num_classes, 4)
    conditioning.names = names
    return conditioning


def images_of(names: Sequence[str], labels: Sequence[int] = (0, 1, 2)) -> ImageSet:
    return ImageSet(np.zeros((len(labels), 1, 2, 2), dtype=np.uint8), torch.tensor(labels), names)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ("DOG", [1, 1, 1]),
        (2, [2, 2, 2]),
        ("2", [2, 2, 2]),
        (["owl", 0, "1"], [2, 0, 1]),
        (("cat", "Cat", "CAT"), [0, 0, 0]),
        (np.array([2, 0, 1]), [2, 0, 1]),
        (torch.tensor(2, dtype=torch.uint8), [2, 2, 2]),
        (torch.tensor([1, 0, 2], dtype=torch.int32), [1, 0, 2]),
    ],
)
def test_classes_are_given_by_name_and_number(given: Any, numbers: list[int]) -> None:
    read = built().read(given, 3)
    assert read.dtype == torch.int64
    assert read.tolist() == numbers
    assert built().plain(read) == [NAMES[number] for number in numbers]
    assert built(()).plain(read) == numbers


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("dogg", "did you mean dog?"),
        ([0, 3], "there is no class 3"),
        (-1, "there is no class -1"),
        (1.0, "expected a whole number or a name"),
        (True, "expected a whole number or a name"),
        ([[0, 1], [1, 0]], "expected a whole number or a name"),
        ({"cat": 1, "dog": 2}, "expected a whole number or a name"),
        (10**30, "there is no class 1000"),
        (["c" * 10**6] * 2, "there is no class ccc"),
        (["cat"], "got 1 classes for 2 images"),
        (torch.zeros(3, dtype=torch.long), "got 3 classes for 2 images"),
        (torch.tensor([0, 3]), "expected 0 to 2"),
        (torch.tensor([-1, 0]), "classes are from -1 to 0"),
        (torch.tensor([0.0, 1.0]), "expected numbers of shape (2,)"),
        (torch.eye(3, dtype=torch.int64)[:2], "expected numbers of shape (2,)"),
    ],
)
def test_other_classes_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        built().read(given, 2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_names_that_are_numbers_or_differ_in_case_only() -> None:
    digits = built(["2", "0", "one"])
    assert digits.read(["0", "2", "one"], 3).tolist() == [0, 2, 2]
    assert digits.plain(torch.arange(3)) == [0, 1, "one"]  # "2" and "0" are the numbers of other classes
    alike = built(["Cat", "cat", "dog"])
    assert alike.read(["Cat", "cat", "DOG"], 3).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="there is no class CAT"):
        alike.read("CAT", 3)
    for conditioning in (digits, alike):
        everything = torch.arange(3)
        assert torch.equal(conditioning.read(conditioning.plain(everything), 3), everything)


def test_draws_take_the_classes_in_turn_by_their_seeds() -> None:
    conditioning = built()
    assert conditioning.default([3, 4, 2, 7]).tolist() == [0, 1, 2, 1]  # type: ignore[union-attr]


def test_guidance_extrapolates_from_the_mean_of_all_classes() -> None:
    conditioning = built()
    given = torch.tensor([2, 0, 2, 1])
    plain, mean = conditioning.embedding.weight[given], conditioning.embedding.weight.mean(0)
    for guidance in (1, 1.0, [1.0] * 4):
        assert torch.equal(conditioning.context(given, 4, guidance), plain)  # type: ignore[arg-type]
    torch.testing.assert_close(conditioning.context(given, 4, 1.5), plain + 0.5 * (plain - mean))
    torch.testing.assert_close(conditioning.context(given, 4, 0.0), mean.expand(4, -1))
    mixed = conditioning.context(given, 4, [1.0, 1.25, 0.3, 2.0])
    assert isinstance(mixed, torch.Tensor)
    for number, guidance in enumerate([1.0, 1.25, 0.3, 2.0]):
        assert torch.equal(mixed[number : number + 1], conditioning.context(given[number : number + 1], 1, guidance))  # type: ignore[arg-type]


def test_names_are_taken_from_the_data_that_trains_the_model() -> None:
    conditioning = built(())
    with warnings.catch_warnings(action="error"):
        conditioning.adopt(images_of(NAMES))
    assert conditioning.names == NAMES
    assert conditioning.facts == {"classes": list(NAMES)}
    with pytest.warns(UserWarning, match="whose samples will be noise: owl"):
        conditioning.adopt(images_of(NAMES, [0, 1, 1]))
    for names in ((), ("cat", "dog")):
        with pytest.raises(ValueError, match=f"num_classes is 3, but the images have {len(names)} classes"):
            conditioning.adopt(images_of(names, [0, 0]))


def test_names_of_a_stored_model_yield_to_those_of_the_data() -> None:
    fresh, trained = built(()), built()
    with warnings.catch_warnings(action="error"):
        fresh.load_facts({"classes": ["a", "b", "c"]})
        trained.load_facts({"classes": list(NAMES)})
        trained.load_facts({})
    assert fresh.names == ("a", "b", "c")
    with pytest.warns(UserWarning, match="'hare' of the model is 'dog' here"):
        trained.load_facts({"classes": ["cat", "hare", "owl"]})
    assert trained.names == NAMES
    assert trained.plain(trained.read(list(NAMES), 3)) == list(NAMES)
    for names in (["cat", "dog"], "abc", ["a", "b", 3], ["a", "b", "c\nd"], 5):
        for conditioning in (fresh, built(())):
            with pytest.raises(ValueError, match="names"):
                conditioning.load_facts({"classes": names})


def test_images_to_measure_on_get_the_labels_of_the_training() -> None:
    conditioning = built()
    with warnings.catch_warnings(action="error"):
        aligned = conditioning.align(images_of(("owl", "cat", "dog")))
    assert tuple(aligned.class_names) == NAMES
    assert torch.as_tensor(aligned.labels).tolist() == [2, 0, 1]
    with pytest.warns(UserWarning, match="'owl' of the model is 'hare' here"):
        assert conditioning.align(images_of(("cat", "dog", "hare"))).labels.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="the model has 3 classes, and the images have 2"):
        conditioning.align(images_of(("cat", "dog"), [0, 1]))
    assert conditioning.knows(aligned)
    assert not conditioning.knows(conditioning.align(images_of((), [0, 0])))


@pytest.mark.parametrize("arguments", [{"num_classes": 0}, {"num_classes": 2, "features": 0}], ids=str)
def test_sizes_below_1_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{list(arguments)[-1]} is 0"):
        ClassConditioning(**arguments)
