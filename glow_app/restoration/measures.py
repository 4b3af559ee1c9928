"""Metrics of restoration, and what they mean: errors of draws and of their mean, calibration, exploded draws."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.progress import tracked
from glow_app.restoration.restoring import Restoration, require_task, restore_damaged
from glow_app.seeding import image_generator
from glow_app.spec import spec_of

CALIBRATION_DRAWS, INTERVALS = 32, (0.5, 0.9)
WHOLE_RANGE = 256  # grey levels
ROUNDING = 1 / 12  # mean squared error of rounding; smaller errors are meaningless
SHOWN = ("truth", "damaged", "draw", "mean", "spread")
WELL_CALIBRATED = (0.8, 0.97)  # accepted shares of true values in 90 % intervals of draws


@dataclass(frozen=True)
class Mean:
    """A mean over pictures and its standard error."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class Quality:
    """How close pictures are to the truth.

    Args:
        gain: Difference from the PSNR of the base, picture by picture.
    """

    psnr: Mean
    gain: Mean
    ssim: Mean


@dataclass(frozen=True)
class RestorationFigures:
    """Measurements of restorations.

    Args:
        qualities: Qualities of "base", the picture that the flow sees; "estimate", the result at temperature
            0; "draw"; and "mean", of several draws.
        within: Share of true values in the central interval of the draws, for each of ``INTERVALS``.
        agree: Share of draws that agree with all values determined by the damaged picture; None if there are none.
        exploded: Number of draws that, before clipping, exceed black or white by more than the whole range.
        shown: The first pictures by kind (``SHOWN``), uint8 (n, C, H, W).
    """

    qualities: dict[str, Quality]
    within: list[float]
    agree: float | None
    exploded: int
    draws: int
    shown: dict[str, Tensor]


def measure_restorations(
    model: ImageModel,
    images: ImageSet,
    count: int = 8,
    temperature: float | Sequence[float] | None = None,
    seed: int = 0,
    num_shown: int = 6,
) -> RestorationFigures:
    """Damage pictures by the model's task, restore them, and measure how close the results are to the truth.

    Args:
        images: True pictures, at least 2.
        count: Number of draws in a mean; each picture gets at least ``CALIBRATION_DRAWS`` draws.
        temperature: As for :func:`~glow_app.restoration.restore`.
        seed: Seed of the first picture's damage; picture i uses seed + i, and draws use the seeds after these.
    """
    draws, first = max(count, CALIBRATION_DRAWS), seed + len(images)
    task, rows, shown = require_task(model), [], []
    for number in tracked(range(len(images)), len(images), "restoring"):
        truth = images[number][0][None]
        generator = image_generator(seed + number)
        damaged = task.damage(truth, generator)
        restoration = restore_damaged(model, damaged[0], draws, temperature, first + number * draws)
        estimate = restore_damaged(model, damaged[0], 1, 0.0, 0).draws
        pictures: dict[str, Tensor] = {"base": restoration.base[None], "estimate": estimate}
        pictures["draw"] = restoration.draws[:count]
        pictures["mean"] = pictures["draw"].float().mean(0, keepdim=True).round().to(torch.uint8)
        rows.append(_values(model, truth, damaged, restoration, pictures, generator))
        if number < num_shown:
            spread = restoration.shown_spread.expand_as(truth[0])
            shown.append((truth[0], restoration.base, restoration.draws[0], pictures["mean"][0], spread))
    values = {name: torch.stack([row[name] for row in rows]).double() for name in rows[0]}
    ratios = {name: values[f"{name} psnr"] for name in pictures}
    return RestorationFigures(
        {n: Quality(_mean(r), _mean(r - ratios["base"]), _mean(values[f"{n} ssim"])) for n, r in ratios.items()},
        (values["within"].sum(0) / values["counted"].sum()).tolist(),
        float(values["agree"].mean()) if "agree" in values else None,
        int(values["exploded"].sum()),
        draws * len(images),
        dict(zip(SHOWN, map(torch.stack, zip(*shown, strict=True)), strict=True)),
    )


def restoration_record(
    model: ImageModel, figures: RestorationFigures, temperature: float | Sequence[float], count: int
) -> dict[str, Any]:
    """Return the figures of restorations as plain types, with their names."""
    task = require_task(model)
    names = {"base": task.condition_name, "draw": "single draw"}
    names |= {"estimate": "estimate (temperature 0)", "mean": f"mean of {pluralise(count, 'draw')}"}
    return {
        "task": spec_of(task),
        "samples": {"temperature": temperature, "count": count, "all": figures.draws},
        "restorations": {kind: {"name": names[kind], **asdict(quality)} for kind, quality in figures.qualities.items()},
        "intervals": list(INTERVALS),
        **{name: getattr(figures, name) for name in ("within", "agree", "exploded")},
    }


def restoration_verdict(record: Mapping[str, Any]) -> list[str]:
    """Return whether the intervals of draws contain as many of the true values as they should.

    Args:
        record: Content of ``evaluation.json`` from ``glow evaluate`` for a restoration model.
    """
    share, (least, most) = record["within"][-1], WELL_CALIBRATED
    words = "too narrow" if share < least else "too wide" if share > most else "well calibrated"
    temperature = record["samples"]["temperature"]
    if share < least and min([temperature] if isinstance(temperature, (int, float)) else temperature) < 1:
        words += ", as is usual below temperature 1"
    return [f"intervals of draws: {words} (those of 90% contain {share:.0%} of the true values)"]


def psnr(pictures: Tensor, truth: Tensor, missing: Tensor | None = None) -> Tensor:
    r"""Return the peak signal-to-noise ratio of pictures, (B,), decibels.

    .. math:: 10 \log_{10} \frac{255^2}{\max(\text{MSE}, 1/12)}

    1/12 is the error of rounding, so an exact picture gets 58.9 dB.

    Args:
        pictures: uint8 (B, C, H, W).
        truth: True pictures of the same shape.
        missing: Boolean (B, 1, H, W): average only over these pixels; all others must be exact. NaN if there are none.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    ratio = peak_signal_noise_ratio(pictures.float(), truth.float(), 255.0, reduction="none", dim=(1, 2, 3))
    share = 1.0 if missing is None else missing.float().mean((1, 2, 3))
    return (ratio + 10 * torch.as_tensor(share).log10()).clamp(max=10 * math.log10(255**2 / ROUNDING))


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity, (B,), of pictures to the true ones, uint8 (B, C, H, W); 1 if they are equal.

    References:
        Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(pictures.float(), truth.float(), data_range=255.0, reduction="none")
    return torch.as_tensor(value).reshape(len(truth))


def true_positions(draws: Tensor, truth: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Return the position of each true value among its draws, (C, H, W), from 0 (below all) to 1 (above all).

    .. math:: u = \frac{\#\{x_n < x\} + v\,(1 + \#\{x_n = x\})}{N + 1}, \qquad v \sim U(0, 1)

    If truth and draws have the same distribution, u is uniform, and therefore within s / 2 of 1/2 with probability s:
    the central interval that contains a share s of the draws then contains a share s of the true values.

    Args:
        draws: (N, C, H, W).
        truth: (C, H, W).
        generator: CPU generator of v.
    References:
        The randomised probability integral transform: Czado et al. 2009, doi:10.1111/j.1541-0420.2009.01191.x.
    """
    below, equal = ((draws < truth).sum(0), (draws == truth).sum(0))
    return (below + torch.rand(truth.shape, generator=generator) * (1 + equal)) / (len(draws) + 1)


def _values(
    model: ImageModel,
    truth: Tensor,
    damaged: Tensor,
    restoration: Restoration,
    pictures: dict[str, Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return all measurements of a picture."""
    task = require_task(model)
    missing = task.missing(damaged)
    values = {}
    for name, images in pictures.items():
        expected = truth.expand_as(images)
        values[f"{name} psnr"] = psnr(images, expected, missing).mean()
        values[f"{name} ssim"] = ssim(images, expected).mean()
    positions = true_positions(restoration.draws[:CALIBRATION_DRAWS], model.quantised(truth[0]), generator)
    counted = positions if missing is None else positions[missing[0].expand_as(positions)]
    within = [((counted - 0.5).abs() <= share / 2).sum() for share in INTERVALS]
    values |= {"within": torch.stack(within), "counted": torch.tensor(counted.numel())}
    values["exploded"] = (restoration.overshoot > WHOLE_RANGE).sum()
    agree = task.agrees(restoration.draws, damaged)
    return values if agree is None else values | {"agree": agree.float().mean()}


def _mean(values: Tensor) -> Mean:
    return Mean(float(values.mean()), float(values.std()) / math.sqrt(len(values)))
