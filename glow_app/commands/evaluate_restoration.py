"""Evaluation of a restoration model for `glow evaluate`: held-out pictures are damaged and restored."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from PIL import Image

from glow_app.commands.results import print_row
from glow_app.evaluation import EvaluationData, faults_of, mean_bits
from glow_app.models.image_model import ImageModel
from glow_app.pictures.panels import neighbour_picture
from glow_app.restoration import (
    CALIBRATION_DRAWS,
    INTERVALS,
    RestorationTask,
    measure_restorations,
    require_task,
    restoration_record,
    restoration_verdict,
)


def evaluate_restorer(
    model: ImageModel, data: EvaluationData, count: int, arguments: argparse.Namespace
) -> tuple[dict[str, Any], Image.Image]:
    """Print and return all figures of restorations with ``count`` draws each; return a picture of the first, too."""
    temperature = model.generation.override(arguments.temperature, None).temperature
    bits = mean_bits(model, data.held_out, 1, arguments.seed, arguments.batch_size)
    print_row("bits/dim", f"{bits.mean:.4f} ± {bits.standard_error:.4f}", "given the damaged picture")
    figures = measure_restorations(model, data.held_out, count, temperature, arguments.seed)
    record = {"bits_per_dim": {"one_draw": asdict(bits)}, **restoration_record(model, figures, temperature, count)}
    _print(require_task(model), record)
    record["verdict"] = [*faults_of(model, data.held_out, bits.mean), *restoration_verdict(record)]
    return record, neighbour_picture({title: pictures[:, None] for title, pictures in figures.shown.items()})


def _print(task: RestorationTask, record: dict[str, Any]) -> None:
    kinds, samples = record["restorations"], record["samples"]
    where = "PSNR, missing pixels" if task.has_mask else "PSNR"
    print_row(f"T = {json.dumps(samples['temperature'])}", where, "gain", "SSIM")
    for kind, figures in kinds.items():
        psnr, gain, ssim = (figures[name] for name in ("psnr", "gain", "ssim"))
        above = "" if kind == "base" else f"{gain['mean']:+.2f} ± {gain['standard_error']:.2f} dB"
        error = psnr["standard_error"]
        print_row(figures["name"], f"{psnr['mean']:.2f} ± {error:.2f} dB", above, f"{ssim['mean']:.4f}")
    for share, within in zip(INTERVALS, record["within"], strict=True):
        draws = f"of {CALIBRATION_DRAWS} draws"
        print_row(f"within {share:.0%} intervals", f"{within:.1%} of true values", draws)
    if record["agree"] is not None:
        print_row("agree with known values", f"{record['agree']:.2%} of draws")
    print_row("exploded", f"{record['exploded']:,} of {samples['all']:,} draws")
