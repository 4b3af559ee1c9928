"""Attributes as what is given: by name, known or not, with guidance, and with the statistics of the training data."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from registry import perturb, tiny_model

from glow_app.conditioning import AttributeConditioning, parse_attributes
from glow_app.data.attributes import Kind
from glow_app.data.image_set import ImageSet
from glow_app.models.image_model import ImageModel
from glow_app.storage.model_config import build_model

KINDS: dict[str, Kind] = {"smiling": "yes_no", "hat": "yes_no", "age": "real", "hue": "circular"}
NAN = math.nan


def built(**kinds: Kind) -> AttributeConditioning:
    torch.manual_seed(0)
    return perturb(AttributeConditioning(kinds or KINDS, 4, 6)).eval()


def parsed(conditioning: AttributeConditioning, given: Any, num: int) -> torch.Tensor:
    parsed = conditioning.vocabulary().parse(given, num)
    assert parsed is not None
    return parsed


def context_of(conditioning: AttributeConditioning, given: Any, num: int) -> torch.Tensor:
    context: torch.Tensor = conditioning(parsed(conditioning, given, num))
    return context


def images_of(labels: torch.Tensor, kinds: dict[str, Kind] = KINDS) -> ImageSet:
    return ImageSet(np.zeros((len(labels), 1, 2, 2), dtype=np.uint8), labels, attributes=kinds)


def training_data(num: int = 400) -> ImageSet:
    draws = torch.rand(num, 4, generator=torch.Generator().manual_seed(0))
    columns = [draws[:, 0] < 0.25, draws[:, 1] < 0.5, 40 + 20 * draws[:, 2], draws[:, 3]]
    labels = torch.stack([column.float() for column in columns], 1)
    labels[::7, 2] = NAN
    return images_of(labels)


def same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("given", "row"),
    [
        ({"smiling": 1, "age": 37.5}, [1, NAN, 37.5, NAN]),
        ({"hue": 1, "hat": False}, [NAN, 0, NAN, 1]),
        ({"hat": np.float32(1)}, [NAN, 1, NAN, NAN]),
        ("smiling, hat=0,age=37.5", [1, 0, 37.5, NAN]),
        ({}, [NAN] * 4),
    ],
)
def test_attributes_are_given_by_name_and_the_rest_is_unknown(given: Any, row: list[float]) -> None:
    conditioning = built()
    same(parsed(conditioning, given, 2), [row, row])
    same(parsed(conditioning, iter([given, {"smiling": 0}]), 2), [row, [0, NAN, NAN, NAN]])
    read = parsed(conditioning, parsed(conditioning, given, 1), 1)
    known = {"smiling": 1, "hat": 0, "age": 37.5} if isinstance(given, str) else given
    assert conditioning.vocabulary().format(read) == ([known] if known else [])
    [unknown] = conditioning.unknown(3)
    assert torch.equal(conditioning(unknown), context_of(conditioning, {}, 3))


def test_options_name_attributes_or_give_them_numbers() -> None:
    values = parse_attributes(["smiling", " age=37.5", "a=b", "c=d=-1e-2"], ["hat", "hue=1"])
    assert values == {"smiling": True, "age": 37.5, "a=b": True, "c=d": -0.01, "hat": False, "hue=1": False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"smilling": 1}, "did you mean smiling?"),
        ({"a" * 10**6: 1}, "there is no attribute"),
        ({"smiling": 0.5}, "a value of smiling is not 0 or 1"),
        ({"age": math.inf}, "age is inf; expected a finite number"),
        ({"age": math.nan}, "age is nan; expected a finite number"),
        ({"age": 10**400}, "expected a finite number"),
        ({"age": "old"}, "age is 'old'; expected a finite number"),
        ({3: 1}, "there is no attribute 3"),
        ("age", "age needs a number, such as age=0.5, its mean"),
        ({"hue": False}, "hue needs a number"),
        ("hat=0,hat", "hat is given twice"),
        (3, "expected a mapping"),
        ([{}], "got 1 values for 2 images"),
        ([{}, 1], "expected a mapping"),
        (torch.zeros(2, 3), "expected real numbers (B, 4)"),
        (torch.zeros(2, 4, dtype=torch.long), "expected real numbers (B, 4)"),
        (torch.full((2, 4), 2.0), "a value of smiling is not 0 or 1"),
    ],
    ids=repr,
)
def test_other_attributes_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parsed(built(), given, 2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_every_kind_enters_the_context_in_its_own_way() -> None:
    conditioning = built()
    known = {"smiling": 1, "hat": 0, "age": 0.3, "hue": 0.0}
    context = context_of(conditioning, known, 1)
    torch.testing.assert_close(context_of(conditioning, known | {"hue": 1.0}, 1), context)
    for name, value in {"smiling": 0, "hat": 1, "age": 0.4, "hue": 0.5}.items():
        assert not torch.allclose(context_of(conditioning, known | {name: value}, 1), context, atol=1e-3)
        assert not torch.allclose(context_of(conditioning, {k: v for k, v in known.items() if k != name}, 1), context)


def test_guidance_leads_away_from_the_shares_of_given_answers_alone_or_of_all_if_none_is_given() -> None:
    conditioning = built()
    conditioning.vocabulary().learn(training_data())
    filled = torch.tensor([[1.0, 0.0, 50.0, 0.2]]).expand(3, 4)
    given = torch.tensor([[1, NAN, 50.0, 0.2], [NAN, NAN, 50.0, 0.2], [NAN] * 4])
    first, second = conditioning.mean[:2].tolist()
    shares = torch.tensor([[first, 0.0, 50.0, 0.2], [first, second, 50.0, 0.2], [first, second, 50.0, 0.2]])
    assert torch.equal(conditioning.guidance(filled, given), conditioning(filled) - conditioning(shares))
    same(conditioning.guidance(given[2:], given[2:]), torch.zeros(1, 4))


def test_the_reader_answers_in_the_form_of_the_networks_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    conditioning, images = built(), torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    conditioning.vocabulary().learn(training_data())
    truth = torch.tensor([[1, 0, 43.0, 0.02], [0, 1, 58.0, 0.97], [0, 0, 50.0, 0.5]])
    answers = conditioning._scaled(truth)
    monkeypatch.setattr(conditioning.reader, "forward", lambda *_: answers)
    torch.testing.assert_close(conditioning.read(images), truth)
    answers = answers * torch.tensor([0.01, 3, 9, 0.5, 0.5])  # less certain, more, out of range, and not a unit vector
    least, most = conditioning.rows[:, 2].aminmax()
    expected = truth.clone()
    expected[:2, 2] = torch.stack([least, most])
    expected[2, 2] = (9 * (50 - conditioning.mean[2]) + conditioning.mean[2]).clamp(least, most)
    torch.testing.assert_close(conditioning.read(images), expected)


def test_the_loss_of_the_reader_is_that_of_known_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    conditioning, images = built(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    monkeypatch.setattr(conditioning.reader, "forward", lambda *_: torch.tensor([[2.0, -1, 0.5, 0, 0.9]] * 2))
    labels = torch.tensor([[1, NAN, 0.5, 0.0], [NAN] * 4])  # of mean 0.5: at 0; the hue has sine 0 and cosine 1
    expected = (math.log1p(math.exp(-2)) + 0.25 + 0 + 0.01) / 5
    torch.testing.assert_close(conditioning.reading_loss(images, labels), torch.tensor([expected, 0.0]))


def test_the_reader_learns_to_read_pictures_of_any_size() -> None:
    torch.manual_seed(0)
    conditioning = AttributeConditioning({"dark": "yes_no", "lightness": "real"})
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(200, generator=generator)

    def halves(channels: int, height: int, width: int) -> torch.Tensor:
        """Return pictures whose left half has a level, and whose right half is grey."""
        images = torch.full((len(levels), channels, height, width), 128, dtype=torch.uint8)
        images[..., : width // 2] = (255 * levels)[:, None, None, None].byte()
        return images

    images, labels = halves(1, 8, 8), torch.stack([(levels < 0.5).float(), levels], dim=1)
    conditioning.set_statistics(labels)
    optimizer = torch.optim.Adam(conditioning.reader.parameters())
    conditioning.train()
    for rows in torch.arange(160).repeat(3).split(16):
        optimizer.zero_grad()
        conditioning.reading_loss(images[rows], labels[rows], generator).mean().backward()
        optimizer.step()
    conditioning.eval()
    for shown in (images, halves(3, 130, 70)):
        error = conditioning.read(shown[160:]) - labels[160:]
        assert error[:, 0].abs().mean() <= 0.1
        assert error[:, 1].square().mean().sqrt() < 0.15  # that of the mean is 0.29


def test_training_hides_some_values_and_whole_rows_and_evaluation_none() -> None:
    conditioning, images = built(), torch.zeros(20_000, 1, 1, 1, dtype=torch.uint8)
    labels = torch.ones(20_000, 4)
    assert conditioning.observe(images, labels) is labels
    seen = conditioning.train().observe(images, labels, torch.Generator().manual_seed(0))
    unknown = seen.isnan()
    share_of_rows = 0.15 + 0.85 * 0.15**4
    assert float(unknown.all(1).float().mean()) == pytest.approx(share_of_rows, abs=0.01)
    assert float(unknown.float().mean()) == pytest.approx(1 - 0.85**2, abs=0.01)
    assert (seen[~unknown] == 1).all()


def test_samples_get_what_is_not_given_from_training_images_that_fit() -> None:
    conditioning, labels = built(), training_data(4000).labels
    labels[:, 1] = labels[:, 0]  # whoever smiles has a hat
    conditioning.vocabulary().learn(images_of(labels))
    vocabulary, seeds = conditioning.vocabulary(), range(500)
    drawn = vocabulary.default(seeds)
    assert not drawn.isnan().any()
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert float(drawn[:, 0].mean()) == pytest.approx(float(conditioning.mean[0]), abs=0.08)
    assert float(drawn[:, 2].mean()) == pytest.approx(50, abs=1.5)
    assert torch.equal(vocabulary.default([7]), drawn[7:8])
    smiling = parsed(conditioning, {"smiling": 1, "age": 41.5}, 500)
    filled = vocabulary.default(seeds, smiling)
    assert torch.equal(filled[:, [0, 2]], smiling[:, [0, 2]])
    assert (filled[:, 1] == 1).all()
    assert len(filled[:, 3].unique()) > 100
    impossible = vocabulary.default([3], parsed(conditioning, {"smiling": 1, "hat": 0}, 1))
    assert impossible[0, :2].tolist() == [1, 0]
    assert torch.equal(filled[:, 3], drawn[:, 3])  # the same image, except for the answers
    shares = torch.cat([conditioning.mean[:1].expand(500, 1), filled[:, 1:]], 1)
    assert torch.equal(conditioning.guidance(filled, smiling), conditioning(filled) - conditioning(shares))


def test_real_values_far_from_the_training_data_are_refused() -> None:
    conditioning = built()
    conditioning.vocabulary().learn(training_data())
    assert parsed(conditioning, {"age": 68, "hue": 3}, 1)[0, 2] == 68
    with pytest.raises(ValueError, match="age is 500; expected about 40"):
        parsed(conditioning, [{"age": 50}, {"age": 500}], 2)


def test_statistics_are_adopted_once_and_stored_with_the_weights() -> None:
    conditioning, data = built(), training_data()
    conditioning.vocabulary().learn(data)
    known = data.labels[~data.labels[:, 2].isnan(), 2]
    assert conditioning.mean[:2].tolist() == pytest.approx(data.labels[:, :2].mean(0).tolist())
    assert [float(conditioning.mean[2]), float(conditioning.std[2])] == pytest.approx(
        [float(known.mean()), float(known.std())]
    )
    described = conditioning.vocabulary().describe()["attributes"]
    assert [(each["name"], each["kind"]) for each in described] == list(KINDS.items())
    assert described[2]["least"] == pytest.approx(float(known.min()))
    assert described[2]["most"] == pytest.approx(float(known.max()))
    context = context_of(conditioning, {"age": 45}, 1)
    conditioning.vocabulary().learn(images_of(data.labels + torch.tensor([0, 0, 100, 0])))
    assert torch.equal(context_of(conditioning, {"age": 45}, 1), context)
    model = tiny_model(conditioning=conditioning)
    again = build_model(model.config, model.state_dict())
    assert isinstance(again, ImageModel)
    assert again.vocabulary.describe() == conditioning.vocabulary().describe()


def test_the_farthest_values_lie_at_the_end_of_the_training_data_or_across_the_circle() -> None:
    conditioning = built()
    conditioning.rows[:, 2] = torch.linspace(40, 60, len(conditioning.rows))
    given = torch.tensor([[1.0, 0.0, 50.0, 0.9], [0.0, 0.0, 50.0, 0.25], [0.0, 1.0, 61.0, 0.0]])
    changed = torch.tensor([[0.0, 0.0, 50.1, 0.8], [0.0, 1.0, 49.0, 0.25], [0.0, 0.0, 62.0, 0.1]])
    expected = torch.tensor([[0.0, 0.0, 60.0, 0.4], [0.0, 1.0, 40.0, 0.25], [0.0, 0.0, 62.0, 0.5]])
    torch.testing.assert_close(conditioning.farthest(given, changed), expected)


def test_images_with_other_attributes() -> None:
    conditioning, data = built(), training_data(5)
    swapped: dict[str, Kind] = {"hue": "circular", "hat": "yes_no"}
    others = images_of(data.labels[:, [3, 1]], swapped)
    same(conditioning.vocabulary().relabel(others).labels[:, [3, 1]], data.labels[:, [3, 1]])
    assert conditioning.vocabulary().relabel(others).labels[:, [0, 2]].isnan().all()
    unlabelled = ImageSet(np.zeros((5, 1, 2, 2), dtype=np.uint8), torch.zeros(5, dtype=torch.long))
    assert conditioning.vocabulary().relabel(unlabelled).labels.isnan().all()
    has_labels = conditioning.vocabulary().has_labels
    assert [has_labels(images) for images in (data, others, unlabelled)] == [True, False, False]
    for images in (others, unlabelled):
        with pytest.raises(ValueError, match="the model has the attributes smiling, hat, age, hue, and"):
            conditioning.vocabulary().learn(images)
    empty = data.labels.clone()
    empty[:, 1] = NAN
    with pytest.raises(ValueError, match="fewer than two training images have a value of hat"):
        conditioning.vocabulary().learn(images_of(empty))


@pytest.mark.parametrize(
    "arguments", [({},), ({"a": "maybe"},), ({"a\nb": "real"},), ({"a": "real"}, 0), ({"a": "real"}, 2, 0)], ids=str
)
def test_invalid_arguments_are_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        AttributeConditioning(*arguments)
