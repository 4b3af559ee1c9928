"""Evaluation of a restoration model for `glow evaluate`: held-out pictures are damaged and restored."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from glow_app.commands.results import table_row
from glow_app.messages import UsageError, pluralise

if TYPE_CHECKING:
    from PIL import Image

    from glow_app.data.image_set import ImageSet
    from glow_app.models.image_model import ImageModel
    from glow_app.tasks import RestorationTask

RESTORED, DRAWS = 500, 8  # default numbers of held-out pictures, and of draws in a mean
COMPARISON = "comparison.png"
# Options that do not apply to restoration models, with their defaults.
_SAMPLE_OPTIONS = {"guidance": None, "draws": 16, "features": "small", "train_limit": 60_000}


def refuse_sample_options(task: "RestorationTask", arguments: argparse.Namespace) -> None:
    """Raise UsageError if an option is given that does not apply to a restoration model."""
    for name, default in _SAMPLE_OPTIONS.items():
        if getattr(arguments, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} does not apply to a restoration model ({type(task).__name__}); leave it out")


def measure_restorer(
    model: "ImageModel", images: "ImageSet", count: int, arguments: argparse.Namespace
) -> "tuple[dict[str, Any], Image.Image]":
    """Print and return all figures of restorations of held-out images; return a picture of the first ones, too.

    Args:
        model: A model with a task.
        images: Held-out images, which are damaged and restored.
        count: Number of draws in a mean.
        arguments: Of ``glow evaluate``.
    """
    from glow_app.evaluation import mean_bits, restoration_verdict
    from glow_app.pictures.panels import neighbour_picture
    from glow_app.restoration import CLASSICAL, GIVEN, INTERVALS, measure_restorations

    assert model.task is not None
    seed = arguments.seed
    temperature = model.generation.override(arguments.temperature, None).temperature
    bits = mean_bits(model, images, 1, seed, arguments.batch_size)
    print(table_row("bits/dim", f"{bits.mean:.4f} ± {bits.standard_error:.4f}", "given the damaged picture, one draw"))
    figures = measure_restorations(model, images, count, temperature, seed)
    task = type(model.task).__name__
    names = {"given": GIVEN.get(task, "damaged picture"), "classical": CLASSICAL.get(task, ""), "draw": "single draw"}
    names |= {"zero": "draw at temperature 0", "mean": f"mean of {pluralise(count, 'draw')}"}
    record = {
        "bits_per_dim": {"one_draw": asdict(bits)},
        "task": {"name": task, **model.task.config},
        "samples": {"temperature": temperature, "count": count, "all": figures.draws},
        "restorations": {kind: {"name": names[kind], **asdict(quality)} for kind, quality in figures.qualities.items()},
        "intervals": list(INTERVALS),
        **{name: getattr(figures, name) for name in ("within", "agree", "exploded")},
    }
    _print(record)
    record["verdict"] = restoration_verdict(record)
    return record, neighbour_picture({title: pictures[:, None] for title, pictures in figures.shown.items()})


def _print(record: dict[str, Any]) -> None:
    """Print the figures that :func:`measure_restorer` returns."""
    from glow_app.restoration import CALIBRATION_DRAWS, CLASSICAL, INTERVALS

    kinds, given, task = record["restorations"], record["restorations"]["given"]["name"], record["task"]["name"]
    samples = record["samples"]
    where = "PSNR, missing pixels" if task == "Fill" else "PSNR"
    print(table_row(f"T = {json.dumps(samples['temperature'])}", where, f"above the {given}", "SSIM"))
    for kind, figures in kinds.items():
        psnr, gain, ssim = (figures[name] for name in ("psnr", "gain", "ssim"))
        above = "" if kind == "given" else f"{gain['mean']:+.2f} ± {gain['standard_error']:.2f} dB"
        error = psnr["standard_error"]
        print(table_row(figures["name"], f"{psnr['mean']:.2f} ± {error:.2f} dB", above, f"{ssim['mean']:.4f}"))
    if task in CLASSICAL and "classical" not in kinds:
        print(table_row(CLASSICAL[task], "not measured; pip install scikit-image"))
    for share, within in zip(INTERVALS, record["within"], strict=True):
        draws = f"of {CALIBRATION_DRAWS} draws"
        print(table_row(f"within {share:.0%} intervals", f"{within:.1%} of true values", draws))
    if record["agree"] is not None:
        print(table_row("agree with known values", f"{record['agree']:.2%} of draws"))
    print(table_row("exploded", f"{record['exploded']:,} of {samples['all']:,} draws"))
