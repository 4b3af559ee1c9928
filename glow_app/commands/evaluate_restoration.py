"""Evaluation of a restoration model for `glow evaluate`: held-out pictures are damaged and restored."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.common import output_folder, refuse_existing, stored_model, table_row
from glow_app.messages import UsageError, pluralise

if TYPE_CHECKING:
    from glow_app.evaluation import EvaluationData
    from glow_app.models.image_model import ImageModel
    from glow_app.tasks import RestorationTask

RESTORED, COUNT = 500, 8  # default numbers of held-out pictures, and of draws in a mean
PICTURE = "comparison.png"
# Options that do not apply to restoration models, with their defaults.
OTHERS = {"guidance": None, "draws": 16, "features": "small", "train_limit": 60_000}


def prepare_restorations(task: "RestorationTask", arguments: argparse.Namespace) -> None:
    """Refuse options that do not apply to a restoration model, and set its defaults."""
    for name, default in OTHERS.items():
        if getattr(arguments, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} means nothing for a restoration model ({type(task).__name__}); leave it out")
    refuse_existing([Path(arguments.output) / PICTURE], arguments.overwrite)
    arguments.train_limit = 0  # no training images are needed
    arguments.limit = arguments.limit or RESTORED
    arguments.count = arguments.count or COUNT


def measured_restorations(model: "ImageModel", data: "EvaluationData", arguments: argparse.Namespace) -> dict[str, Any]:
    """Print and return all figures of restorations; write a picture of the first ones."""
    from glow_app.evaluation import mean_bits, restoration_verdict
    from glow_app.pictures.images import save_png
    from glow_app.pictures.panels import neighbour_picture
    from glow_app.restoration import CLASSICAL, GIVEN, INTERVALS, measure_restorations

    assert model.task is not None
    count, seed = arguments.count, arguments.seed
    temperature = model.generation.override(arguments.temperature, None).temperature
    bits = mean_bits(model, data.held_out, 1, seed, arguments.batch_size)
    print(table_row("bits/dim", f"{bits.mean:.4f} ± {bits.standard_error:.4f}", "given the damaged picture, one draw"))
    figures = measure_restorations(model, data.held_out, count, temperature, seed)
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
    path = output_folder(arguments) / PICTURE
    picture = neighbour_picture({title: images[:, None] for title, images in figures.shown.items()})
    save_png(picture, path, {"model": stored_model(arguments).hash, "seed": seed})
    print(f"the first pictures: {path}")
    return record | {"verdict": restoration_verdict(record)}


def _print(record: dict[str, Any]) -> None:
    """Print the figures that :func:`measured_restorations` returns."""
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
        print(table_row("agree with what is known", f"{record['agree']:.2%} of draws"))
    print(table_row("exploded", f"{record['exploded']:,} of {samples['all']:,} draws"))
