"""Classes as what is given: by name and number, with guidance, and as the data of a training names them."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from registry import tiny_model

from glow_app.conditioning import ClassConditioning
from glow_app.conditioning.class_conditioning import ClassVocabulary
from glow_app.data.image_set import ImageSet
from glow_app.pipeline.sampling import guidance_change

NAMES = ("cat", "dog", "owl")


def built(names: Sequence[str] = NAMES) -> ClassVocabulary:
    vocabulary = ClassConditioning(3, 4).vocabulary()
    vocabulary.set_names(names)
    return vocabulary


def assert_parsed(vocabulary: ClassVocabulary, given: Any, numbers: list[int]) -> None:
    parsed = vocabulary.parse(given, len(numbers))
    assert parsed is not None
    assert parsed.dtype == torch.int64
    assert parsed.tolist() == numbers


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
    assert_parsed(built(), given, numbers)
    assert built().format(torch.tensor(numbers)) == [NAMES[number] for number in numbers]
    assert built(()).format(torch.tensor(numbers)) == numbers


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
        (["cat"], "got 1 values for 2 images"),
        (torch.zeros(3, dtype=torch.long), "got 3 values for 2 images"),
        (torch.tensor([0, 3]), "expected 0 to 2"),
        (torch.tensor([-1, 0]), "classes are from -1 to 0"),
        (torch.tensor([0.0, 1.0]), "expected whole numbers, (B,)"),
        (torch.eye(3, dtype=torch.int64)[:2], "expected whole numbers, (B,)"),
    ],
)
def test_other_classes_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        built().parse(given, 2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_names_that_are_numbers_or_differ_in_case_only() -> None:
    digits = built(["2", "0", "one"])
    assert_parsed(digits, ["0", "2", "one"], [0, 2, 2])
    assert digits.format(torch.arange(3)) == [0, 1, "one"]  # "2" and "0" are the numbers of other classes
    alike = built(["Cat", "cat", "dog"])
    assert_parsed(alike, ["Cat", "cat", "DOG"], [0, 1, 2])
    with pytest.raises(ValueError, match="there is no class CAT"):
        alike.parse("CAT", 3)
    for vocabulary in (digits, alike):
        assert_parsed(vocabulary, vocabulary.values, [0, 1, 2])


def test_draws_take_the_classes_in_turn_by_their_seeds() -> None:
    vocabulary = built()
    assert vocabulary.default([3, 4, 2, 7]).tolist() == [0, 1, 2, 1]  # type: ignore[union-attr]


def test_guidance_extrapolates_from_the_mean_of_all_classes() -> None:
    model, given = tiny_model(conditioning=ClassConditioning(3, 4)), torch.tensor([2, 0, 2, 1])
    assert isinstance(model.conditioning, ClassConditioning)
    away = model.conditioning.embedding.weight[given] - model.conditioning.embedding.weight.mean(0)
    for guidance in (1, 1.0, [1.0] * 4):
        assert guidance_change(model, given, guidance) is None
    torch.testing.assert_close(guidance_change(model, given, 1.5), 0.5 * away)
    torch.testing.assert_close(guidance_change(model, given, 0.0), -away)
    mixed = guidance_change(model, given, [1.0, 1.25, 0.3, 2.0])
    torch.testing.assert_close(mixed, torch.tensor([0.0, 0.25, -0.7, 1.0])[:, None] * away)


def test_names_are_taken_from_the_data_that_trains_the_model() -> None:
    vocabulary = built(())
    with warnings.catch_warnings(action="error"):
        vocabulary.learn(images_of(NAMES))
    assert vocabulary.names == NAMES
    assert vocabulary.facts == {"classes": list(NAMES)}
    with pytest.warns(UserWarning, match="whose samples will be noise: owl"):
        vocabulary.learn(images_of(NAMES, [0, 1, 1]))
    for names in ((), ("cat", "dog")):
        with pytest.raises(ValueError, match=f"num_classes is 3, but the images have {len(names)} classes"):
            vocabulary.learn(images_of(names, [0, 0]))


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
    assert trained.format(trained.parse(list(NAMES), 3)) == list(NAMES)
    for names in (["cat", "dog"], "abc", ["a", "b", 3], ["a", "b", "c\nd"], 5):
        for vocabulary in (fresh, built(())):
            with pytest.raises(ValueError, match="names"):
                vocabulary.load_facts({"classes": names})


def test_images_to_measure_on_get_the_labels_of_the_training() -> None:
    vocabulary = built()
    with warnings.catch_warnings(action="error"):
        relabelled = vocabulary.relabel(images_of(("owl", "cat", "dog")))
    assert tuple(relabelled.class_names) == NAMES
    assert torch.as_tensor(relabelled.labels).tolist() == [2, 0, 1]
    with pytest.warns(UserWarning, match="'owl' of the model is 'hare' here"):
        assert vocabulary.relabel(images_of(("cat", "dog", "hare"))).labels.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="the model has 3 classes, and the images have 2"):
        vocabulary.relabel(images_of(("cat", "dog"), [0, 1]))
    assert vocabulary.has_labels(relabelled)
    assert not vocabulary.has_labels(vocabulary.relabel(images_of((), [0, 0])))


@pytest.mark.parametrize("arguments", [{"num_classes": 0}, {"num_classes": 2, "features": 0}], ids=str)
def test_sizes_below_1_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{list(arguments)[-1]} is 0"):
        ClassConditioning(**arguments)
