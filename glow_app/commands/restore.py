"""Enlarge, denoise, deblock, colour or fill pictures of any size, by a model that was trained to."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app import __version__
from glow_app.commands.common import (
    add_label_argument,
    add_model_arguments,
    add_output_arguments,
    load,
    output_folder,
    picture_files,
    refuse_existing,
    stored_model,
    write_json,
)
from glow_app.commands.parser import number, positive_int, seed_number
from glow_app.messages import UsageError, pluralise, printable
from glow_app.progress import tracked

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.data.decoding import Photo
    from glow_app.generation import Restoration
    from glow_app.models.image_model import ImageModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow restore``."""
    parser.add_argument("images", nargs="+", help="damaged picture files, or folders of them", metavar="PICTURE")
    add_model_arguments(parser)
    add_output_arguments(parser, "restored")
    parser.add_argument("--count", type=positive_int, default=4, help="draws per picture")
    parser.add_argument(
        "--temperature", type=number, default=None, help="temperature (default: the model's recommendation)"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the first draw")
    parser.add_argument("--mask", default=None, help="fill: picture that is white where pixels are missing")
    parser.add_argument(
        "--sigma", type=number, default=None, help="denoise: standard deviation in grey levels (default: estimated)"
    )
    add_label_argument(parser, "class of the pictures")


def run(arguments: argparse.Namespace) -> None:
    """Write draws, their mean and spread, and a comparison, for each picture."""
    model = load(arguments, restores=True)
    files = picture_files(arguments.images)
    folder = Path(arguments.output)
    names = [Path(file).stem for file in files]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two pictures are called {repeated}; restore them into different folders with --output")
    refuse_existing([folder / f"{name}_mean.png" for name in names], arguments.overwrite)
    records: list[dict[str, Any]] = []
    skipped: list[str] = []
    for file in tracked(files, len(files), "restoring"):
        try:
            records.append(_restore_file(model, file, arguments))
        except (ValueError, OSError) as error:
            if len(files) == 1 or isinstance(error, UsageError):
                raise
            skipped.append(str(error))
    for line in skipped:
        print(printable(f"skipped: {line}"))
    if not records:
        raise ValueError(f"none of the {len(files)} pictures could be restored")
    write_json(folder / "run.json", {"model": stored_model(arguments).hash, "version": __version__, "files": records})
    noun = f"{pluralise(len(records), 'picture')}, {pluralise(arguments.count, 'draw')} each"
    example = folder / f"{Path(records[0]['file']).stem}_comparison.png"
    print(f"{noun}, with mean and spread, in {folder}; side by side: {example}")


def _restore_file(model: "ImageModel", file: str, arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    from glow_app.generation import restore
    from glow_app.tasks import Colourise

    num_channels = 1 if isinstance(model.task, Colourise) else model.flow.image_shape[0]
    photo = _read(file, num_channels)
    damaged, facts = _damaged(model, torch.from_numpy(photo.pixels.copy()), arguments)
    restoration = restore(model, damaged, arguments.count, arguments.temperature, arguments.seed, arguments.label)
    _write(restoration, Path(file).stem, photo, arguments)
    height, width = restoration.mean.shape[1:]
    return {"file": file, "size": [width, height], **facts, **restoration.draws.facts[0]}


def _read(file: str, num_channels: int) -> "Photo":
    from glow_app.data.decoding import read_photo

    try:
        return read_photo(Path(file), num_channels)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {file}") from error
    except Exception as error:  # Pillow's plugins share no narrower type
        raise ValueError(f"{file} cannot be read as a picture: {error}") from error


def _damaged(model: "ImageModel", pixels: "Tensor", arguments: argparse.Namespace) -> "tuple[Tensor, dict[str, Any]]":
    """Return the damaged picture with what the task needs beside it, and what to record of that."""
    import torch

    from glow_app.tasks import Denoise, Fill

    task = model.task
    if (arguments.mask is not None) != isinstance(task, Fill):
        raise UsageError(
            f"--mask is for a model that fills; this one has the task {type(task).__name__}"
            if arguments.mask is not None
            else "this model fills missing parts: give --mask MASK.png, white where the picture is missing"
        )
    if arguments.sigma is not None and not isinstance(task, Denoise):
        raise UsageError(f"--sigma is for a model that denoises; this one has the task {type(task).__name__}")
    if isinstance(task, Fill):
        mask = torch.from_numpy(_read(arguments.mask, 1).pixels.copy())
        if mask.shape[1:] != pixels.shape[1:]:
            sizes = [f"{shape[2]}x{shape[1]}" for shape in (mask.shape, pixels.shape)]
            raise ValueError(f"the mask {arguments.mask} is {sizes[0]}; expected {sizes[1]}, the size of the picture")
        if not (mask >= 128).any():
            raise ValueError(f"the mask {arguments.mask} is black everywhere; expected white where pixels are missing")
        return task.with_mask(pixels[None], mask[None])[0], {"mask": arguments.mask}
    if isinstance(task, Denoise):
        damaged = task.with_level(pixels[None], arguments.sigma)[0]
        return damaged, {"sigma": int(damaged[-1, 0, 0])}
    return pixels, {}


def _write(restoration: "Restoration", stem: str, photo: "Photo", arguments: argparse.Namespace) -> None:
    from glow_app.pictures.images import save_png, to_pil

    folder = output_folder(arguments)
    for name, picture, facts in _pictures(restoration):
        image = to_pil(picture)
        image.info["icc_profile"] = photo.icc_profile
        save_png(image, folder / f"{stem}_{name}.png", facts)


def _pictures(restoration: "Restoration") -> "Iterator[tuple[str, Tensor, dict[str, Any]]]":
    """Yield the name of each picture, itself, and what it says of itself."""
    import torch

    draws, spread = restoration.draws, restoration.shown_spread
    for image, facts in zip(draws, draws.facts, strict=True):
        yield f"seed{facts['seed']}", image, facts
    yield "mean", restoration.mean, {}
    yield "spread", spread, {}
    channels = draws.shape[1]
    row = [restoration.given, draws[0], restoration.mean, spread.expand(channels, -1, -1)]
    yield "comparison", torch.cat(row, dim=2), {}
