"""How fast a model draws by itself and as an exported program, and how well they agree: the tables of docs/export.md.

    python benchmarks/export.py
    python benchmarks/export.py --checkpoint runs/mine/TIME

Speed: the seconds of CPU time of one thread, since other programs may be running; all ways in turns, medians.
Agreement: of many more images than the check of an export draws.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import interleaved_medians, write_result, write_table

from glow_app.export import SAMPLER_FORMATS, Sampler, compare
from glow_app.storage.pretrained import model_hash
from glow_app.storage.stored_model import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="fashion-mnist")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--compared", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.checkpoint).requires_grad_(False)
    classes = model.flow.num_classes
    sampler = Sampler(model)
    model.freeze()  # as every command does
    programs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, form in SAMPLER_FORMATS.items():
            form.save(sampler, Path(folder) / form.file)
            programs[name] = form.load(Path(folder) / form.file)
    parity: dict[str, dict[str, dict[str, float]]] = {}
    for name, draw in programs.items():
        for temperature in (0.7, 1.0):
            found = compare(model, draw, [arguments.compared], [temperature])
            figures = {"unsure": found.num_unsure, "share": found.share, "largest": found.largest}
            parity.setdefault(name, {})[str(temperature)] = figures
            print(name, temperature, found, flush=True)
    results = {}
    for num in arguments.batch_sizes:
        latents = model.base_noise(range(num), 0.7)
        labels = None if classes is None else torch.arange(num) % classes
        inputs = (latents, None) if labels is None else (latents, labels, torch.ones(num))
        ways: dict[str, Callable[[], object]] = {
            "`model.sample`": partial(model.sample, num, 0.7, 0, labels),
            "`model.decode`": partial(model.decode, latents, labels),
            "`Sampler`": partial(sampler, *inputs),
            **{f"`{name}`": partial(draw, *inputs) for name, draw in programs.items()},
        }
        seconds = interleaved_medians(ways, arguments.repeats, clock=time.process_time)
        results[num] = {way: num / value for way, value in seconds.items()}
        print(num, results[num], flush=True)
    settings = {name: value for name, value in vars(arguments).items() if name != "checkpoint"}
    write_result(
        "export", {"arguments": settings, "model": model_hash(model), "parity": parity, "images_per_second": results}
    )
    header = ["images per second, and against `model.sample`", *(f"batches of {num}" for num in results)]
    rows = []
    for way in ways:
        cells = (f"{speed[way]:,.0f} ({speed[way] / speed['`model.sample`']:.2f})" for speed in results.values())
        rows.append([way, *cells])
    write_table("export", header, rows, page="export.md")
    header = ["program", "temperature", "images", "pixels that differ", "largest difference, levels"]
    rows = []
    for name, of_temperature in parity.items():
        for temperature_text, figures in of_temperature.items():
            compared = f"{arguments.compared - figures['unsure']:.0f}, {figures['unsure']:.0f} left out"
            rows.append(
                [
                    f"`{name}`",
                    temperature_text,
                    compared,
                    f"{1e5 * figures['share']:.1f} in 100,000",
                    f"{figures['largest']}",
                ]
            )
    write_table("parity", header, rows, page="export.md")


if __name__ == "__main__":
    main()
