import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from registry import random_images, tiny_model

from glow_app.pipeline import Measures, Reference, measure
from glow_app.pipeline.scoring import noise_of


def ordinary(count: int, seed: int = 0) -> Measures:
    """Return measures of two levels whose finest bits follow those of the PNG."""
    generator = torch.Generator().manual_seed(seed)
    png, noise = torch.randn(count, generator=generator), torch.randn(count, 4, generator=generator)
    levels = torch.stack([png + 0.1 * noise[:, 0], noise[:, 1].exp()], dim=1)
    return Measures(levels.sum(1), levels, 1 + 0.1 * noise[:, 2:], png, torch.zeros(count))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of(ordinary(1000))


def test_of_new_ordinary_images_95_percent_are_usual(reference: Reference) -> None:
    verdicts = reference.judge(ordinary(4000, seed=1))
    assert sum(one.verdict == "usual" for one in verdicts) / 4000 == pytest.approx(0.95, abs=0.025)
    for name in ("oddness", "percentile"):
        values = [getattr(one, name) for one in verdicts]
        assert np.quantile(values, [0.25, 0.5, 0.75]) == pytest.approx([25, 50, 75], abs=6)
    assert {one.verdict for one in verdicts if one.oddness <= 95} == {"usual"}
    assert {one.verdict for one in verdicts if one.oddness > 95} == {"unusual"}


@pytest.mark.filterwarnings("ignore:statistics of ordinary images")
@pytest.mark.parametrize(("count", "unusual"), [(8, 0.09), (20, 0.04)])
def test_of_few_ordinary_images_about_as_many_are_called_usual(count: int, unusual: float) -> None:
    shares = []
    for seed in range(40):
        verdicts = Reference.of(ordinary(count, seed)).judge(ordinary(100, 1000 + seed))
        shares.append(sum(verdict.verdict == "unusual" for verdict in verdicts) / 100)
    assert np.mean(shares) == pytest.approx(unusual, abs=0.04)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"level_bits": [[9.0, 1.0]], "png_bits_per_dim": [9.0], "noise": [9.0]}, "fine detail noisier than usual"),
        ({"level_bits": [[-9.0, 1.0]], "png_bits_per_dim": [-9.0]}, "fine detail smoother than usual"),
        # Sharp edges on plain areas, or blur, are as unexpected as noise.
        ({"level_bits": [[9.0, 1.0]], "png_bits_per_dim": [-1.5]}, "fine detail smoother than usual"),
        ({"level_bits": [[9.0, 1.0]], "png_bits_per_dim": [9.0]}, "fine detail less expected than usual"),
        ({"level_bits": [[0.0, 30.0]]}, "large shapes less expected than usual"),
        ({"level_norms": [[1.0, 0.2]]}, "large shapes weaker than usual"),
        ({"png_bits_per_dim": [-9.0]}, "plainer than usual"),
        # Each is ordinary, and not beside the other.
        ({"level_bits": [[1.5, 1.0]], "png_bits_per_dim": [-1.5]}, "nothing stands out, but the combination is rare"),
    ],
)
def test_the_reason(change: dict[str, Any], reason: str, reference: Reference) -> None:
    middle = {"bits_per_dim": [1.0], "level_bits": [[0.0, 1.0]], "level_norms": [[1.0, 1.0]], "png_bits_per_dim": [0.0]}
    middle |= {"noise": [0.0]}
    (verdict,) = reference.judge(Measures(**{name: torch.tensor(value) for name, value in (middle | change).items()}))
    assert (verdict.verdict, verdict.reason, verdict.oddness) == ("unusual", reason, 100)
    (verdict,) = reference.judge(Measures(**{name: torch.tensor(value) for name, value in middle.items()}))
    assert (verdict.verdict, verdict.reason) == ("usual", "like most ordinary pictures")


def test_noise_is_neither_gradients_nor_edges() -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    smooth = (40 + 2 * rows + columns + 40 * ((rows - 32) ** 2 + (columns - 32) ** 2 < 300)).expand(3, -1, -1)
    noisy = smooth + 8 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = noise_of(torch.stack([smooth.float(), noisy]).round().to(torch.uint8))
    assert found.tolist() == pytest.approx([0, 8], abs=0.6)  # edges add a little
    assert noise_of(torch.zeros(2, 1, 2, 9, dtype=torch.uint8)).tolist() == [0, 0]


def test_a_reference_is_read_as_it_was_written(reference: Reference) -> None:
    again = Reference.of_facts({"reference": json.loads(json.dumps(reference.to_plain()))}, 2)
    assert again is not None
    for one, other in zip(reference.judge(ordinary(50, 2)), again.judge(ordinary(50, 2)), strict=True):
        assert one.oddness == pytest.approx(other.oddness, abs=1e-3)
        assert one.reason == other.reason
        assert one.percentile == pytest.approx(other.percentile, abs=1e-3)
    assert again.median_bits_per_dim == pytest.approx(float(ordinary(1000).bits_per_dim.median()), rel=0.05)


@pytest.mark.parametrize(
    "change",
    [{"images": None}, {"mean": [math.nan] * 5}, {"covariance": np.zeros((5, 5)).tolist()}, {"bits_per_dim": "low"}],
)
def test_a_damaged_reference_is_refused(change: dict[str, Any], reference: Reference) -> None:
    with pytest.raises(ValueError, match="damaged; write it again: glow score --save-reference"):
        Reference.of_facts({"reference": {**reference.to_plain(), **change}}, 2)
    with pytest.raises(ValueError, match="damaged"):
        Reference.of_facts({"reference": reference.to_plain()}, 3)


def test_few_images_and_equal_images_make_a_reference_too() -> None:
    model = tiny_model()
    with pytest.warns(UserWarning, match="come from only 4 images"):
        few = Reference.of(measure(model, random_images(4)))
    assert all(math.isfinite(one.oddness) for one in few.judge(measure(model, random_images(3))))
    equal = Reference.of(Measures(*(torch.ones(shape) for shape in ((30,), (30, 2), (30, 2), (30,), (30,)))))
    assert math.isfinite(float(equal.distance[-1]))
    without_sense = Measures(
        torch.ones(30), torch.full((30, 2), math.nan), torch.ones(30, 2), torch.ones(30), torch.ones(30)
    )
    with pytest.raises(ValueError, match="are not finite"):
        Reference.of(without_sense)
    with pytest.raises(ValueError, match="need at least 2, preferably 100; got 1"):
        Reference.of(measure(model, random_images(1)))
