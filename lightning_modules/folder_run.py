"""``glow fit FOLDER``: chooses model, size and number of steps by the pictures, the device and the time."""

import argparse
import json
import math
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.parser import Parser, number_type, positive_int, seed_number
from glow_app.data.decoding import open_image
from glow_app.data.listing import FolderListing, all_class_names, list_images, split_layout
from glow_app.data.splits import Split
from glow_app.messages import UsageError, closest
from glow_app.storage.model_folders import bundled_models, read_config
from lightning_modules.command_line.arguments import INIT_FROM, INIT_LEVELS_FROM, take_option
from lightning_modules.presets import config_path

if TYPE_CHECKING:
    from glow_app.models.image_model import ImageModel

_SMALL = "folder_cpu"  # the preset on a CPU, and of runs that begin from a model up to 64x64
# Presets of other runs, by their largest size.
_PRESETS = {32: "folder32", 64: "folder", 128: "folder128", math.inf: "folder256"}
# For runs of the small preset from another model. The rate rises for half of the run: pictures like those of the model
# are best at its low rates, where training soon stops, and others reach the high ones (docs/train-on-my-folder.md).
_WARMUP, _STEPS = "--model.lr_scheduler.init_args.warmup_steps=1000", 30  # steps by the root of the number of pictures
_RATE, _STEPS_OF_RATE = 5e-3, 200  # with fewer steps the rate is smaller: a fast rise ruins what a run begins with
_CONTRAST = 10.0  # of attributes
_PATIENCE = 4  # validations without a better figure before a run stops, of about ten
_SIZES = {"cpu": (16, 32), "gpu": (16, 32, 64, 128)}
_OVERLAYS = ("prior/", "trainer/", "logger/")
_NUM_INSPECTED = 200  # pictures whose size and colour are read; up to twice as many, to space them evenly
_FEW = 100
_MINUTES = 30.0
_PLAN_VARIABLE = "GLOW_FIT_PLAN"  # by which the first process tells its choices to those that it starts


def main(arguments: list[str]) -> None:
    """Run ``glow fit FOLDER``: print the choices, then train as ``glow fit --config`` does."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        options_parser().print_help()
        return
    is_started = "LOCAL_RANK" in os.environ and _PLAN_VARIABLE in os.environ
    planned = json.loads(os.environ[_PLAN_VARIABLE]) if is_started else _planned(arguments)
    from lightning_modules.glow_cli import main as fit  # late: importing Lightning takes seconds

    os.environ[_PLAN_VARIABLE] = json.dumps(planned)
    try:
        fit(planned)
    finally:
        del os.environ[_PLAN_VARIABLE]


def train(
    folder: str | Path, minutes: float | None = None, run_dir: str | Path | None = None, **options: Any
) -> "ImageModel":
    """Train a model of the pictures in a folder, as ``glow fit FOLDER`` does, and return it.

    Args:
        folder: Folder of pictures; subfolders are classes.
        minutes: Training time; by default, a number of steps that suits the pictures, in at most 30 minutes.
        run_dir: Folder of the run; ``runs/NAME/TIME`` if None.
        **options: Further options of the command by name, such as ``size=64``, ``device="cpu"``, ``no_classes=True`` or
            ``from_scratch=True``.
    Raises:
        UsageError: If an option is unknown or invalid.
        FileNotFoundError: If the folder does not exist.
        ValueError: If it contains no pictures.
    """
    from glow_app.storage.stored_model import load_model
    from lightning_modules.runs.run_folder import choose_run_dir

    run_dir = choose_run_dir(_slug(str(folder)), None if run_dir is None else str(run_dir))
    words = [str(folder), f"--run_dir={run_dir}"]
    for name, value in {"minutes": minutes, **options}.items():
        option = f"--{name if '.' in name else name.replace('_', '-')}"
        words += [option] if value is True else [] if value is None or value is False else [f"{option}={value}"]
    main(words)
    return load_model(run_dir)


def _planned(arguments: list[str]) -> list[str]:
    """Print the choices, and return arguments of ``glow fit`` with a preset."""
    parser = options_parser()
    options, rest = parser.parse_known_args(arguments)
    for word in rest:
        names = (f"--{name.replace('_', '-')}" for name in vars(options) if name != "folder")
        if word.startswith("--") and "." not in word and (hint := closest(word, names)):
            raise UsageError(f"glow fit: unknown argument {word}{hint}")
    resumed, rest = take_option("--resume", rest)
    run_dir, _ = take_option("--run_dir", rest)
    if resumed is not None:
        from lightning_modules.runs.checkpoints import good_checkpoint

        if resumed != "auto" or run_dir is None:
            raise UsageError("glow fit FOLDER starts a new run; to resume one, use glow fit --resume RUN")
        rest = ["--resume=auto", *rest]
        if good_checkpoint(Path(run_dir)) is not None:
            print(f"resuming {run_dir} with the options chosen at its start", flush=True)
            return rest
    elif run_dir is not None:
        from lightning_modules.runs.run_folder import refuse_earlier_run  # late: importing Lightning takes seconds

        refuse_earlier_run(Path(run_dir))  # now, not when the time of a step has been measured
    _require_usable(options, rest)
    listing = list_images(Path(options.folder).absolute())
    parts = split_layout(listing)
    config, default_steps = _choose_config(options, rest, listing, parts)
    from lightning_modules.run_length import length_by_epochs, length_by_time  # late: importing Lightning takes seconds

    if options.epochs is not None:
        length, description = length_by_epochs(options.epochs)
    else:
        most = default_steps if options.minutes is None else None
        length, description = length_by_time(options.minutes or _MINUTES, most, [*config, *rest])
    print(f"time        {description} (options: --minutes, --epochs)", flush=True)
    steps, _ = take_option("--trainer.max_steps", [*length, *rest])
    if _WARMUP in config and steps is not None and int(steps) < _STEPS_OF_RATE:
        config.append(f"--model.optimizer.init_args.lr={_RATE * int(steps) / _STEPS_OF_RATE:.2g}")
    if (count := len(parts["train"].files)) < _FEW:
        print(f"warning     only {count} pictures: the model will memorise them, and samples will resemble them")
    return [*config, *length, *rest]


def _require_usable(options: argparse.Namespace, rest: list[str]) -> None:
    if options.size is not None and options.size % 16:
        raise UsageError(f"glow fit: --size {options.size} is not a multiple of 16")
    for name in options.config:
        if Path(config_path(name)).parent.name == "restore":  # config_path also refuses unknown names
            raise UsageError(
                f"glow fit: {name} trains on crops of photographs, not on whole pictures; use "
                f"glow fit --config {name} --data.root {options.folder}"
            )
    if options.from_scratch and take_option(INIT_FROM, rest)[0] is not None:
        raise UsageError(f"glow fit: use either --from-scratch or {INIT_FROM}, not both")


def _choose_config(
    options: argparse.Namespace, rest: list[str], listing: FolderListing, parts: dict[Split, FolderListing]
) -> tuple[list[str], int | None]:
    """Return options of ``glow fit --config``, and the usual number of steps, if there is one; print the choices."""
    import torch

    device = options.device or ("gpu" if torch.cuda.is_available() else "cpu")
    side, channels = _inspect(listing)
    start, model = None, _initial_model(options, rest)
    attributes = _attributes(listing, model, rest)
    classes = () if options.no_classes or attributes else all_class_names(parts)
    classes = classes if len(classes) > 1 else ()
    print(f"pictures    {_description(options.folder, parts['train'], classes)}")
    sizes = _SIZES["cpu" if device == "cpu" else "gpu"]
    size = options.size or min(sizes, key=lambda size: abs(math.log(size / side)))
    if model is not None:
        size = options.size or model.flow.image_shape[1]
        classes = _checked_against(model, channels, classes)
        channels = model.flow.image_shape[0]
    elif not options.from_scratch:
        if channels == 3:
            start = "photos64" if size >= 64 and size % 32 == 0 else "photos32"
        else:
            print(f"begins from scratch: the bundled models are of colour pictures (option: {INIT_FROM} MODEL)")
    presets = [name for name in options.config if not name.startswith(_OVERLAYS)]
    is_begun = model is not None or start is not None
    is_small = device == "cpu" or (is_begun and size <= 64)
    default = _SMALL if is_small else next(name for largest, name in _PRESETS.items() if size <= largest)
    preset = presets[-1] if presets else default
    is_usual = is_begun and is_small and not presets
    chosen = f"{size}x{size}" + ("" if is_usual else f", preset {preset}")
    print(f"chosen      {chosen}, on {device} (options: --size, --config, --device, --from-scratch)", flush=True)
    config = [f"--config={name}" for name in dict.fromkeys([preset, *options.config])]
    config += ["--data.source=folder", f"--data.root={listing.root}", f"--seed_everything={options.seed}"]
    config += [f"--name={options.name or _slug(options.folder)}", f"--trainer.accelerator={device}"]
    config += [f"--early_stopping.patience={_PATIENCE}"]
    if (model is None and not presets) or options.size is not None:
        config.append(f"--model.flow.init_args.image_shape=[{channels},{size},{size}]")
    if classes and model is None:
        conditioning = "--model.flow.init_args.conditioning"
        config += [f"{conditioning}=glow_app.conditioning.ClassConditioning"]
        config += [f"{conditioning}.init_args.num_classes={len(classes)}"]
    if attributes:
        print(f"attributes  {', '.join(attributes)}, of the table in the folder (option: --data.attributes null)")
        config += ["--data.attributes=true", f"--model.contrast={_CONTRAST}"]
    if (num_files := len(parts["train"].files)) < _FEW:
        config.append(f"--data.batch_size={max(1, min(32, num_files // 2))}")
    if start is not None:
        config += [f"{INIT_LEVELS_FROM}={start}", *([] if presets else _architecture_of(start))]
    return ([*config, _WARMUP], round(_STEPS * math.sqrt(num_files))) if is_usual else (config, None)


def _attributes(listing: FolderListing, model: "ImageModel | None", rest: list[str]) -> tuple[str, ...]:
    """Return the names of the attributes in the folder's table, if there is one and the run can use it."""
    from glow_app.conditioning import AttributeConditioning
    from glow_app.data.attributes import table_in
    from glow_app.data.sources import attribute_kinds

    is_usable = model is None or isinstance(model.conditioning, AttributeConditioning)
    if not is_usable or take_option("--data.attributes", rest)[0] or not table_in(listing.root):
        return ()
    return tuple(attribute_kinds("folder", listing.root, True))


def _description(folder: str, train: FolderListing, classes: Sequence[str]) -> str:
    """Return the number of training pictures and, if there are any, the classes with theirs."""
    counts = Counter(file.class_name for file in train.files)
    listed = ", ".join(f"{name} {counts[name]:,}" for name in classes[:5]) + (", ..." if len(classes) > 5 else "")
    return f"{len(train.files):,} in {folder}" + (f" in {len(classes)} classes: {listed}" if classes else "")


def _checked_against(model: "ImageModel", channels: int, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes that a run from ``model`` uses; print what of the pictures it does not."""
    if channels > model.flow.image_shape[0]:
        print("warning     the model of --init-from is grey, so colours are discarded")
    if classes and not hasattr(model.conditioning, "num_classes"):
        print(f"warning     {len(classes)} classes are ignored, because the model of --init-from has none")
        return ()
    return classes


def _architecture_of(start: str) -> list[str]:
    """Return options of ``glow fit`` for bits and architecture of a bundled model."""
    model = read_config(bundled_models()[start])["model"]
    names = ("num_levels", "num_steps", "hidden_channels")
    return [
        f"--model.num_bits={model['num_bits']}",
        *(f"--model.flow.init_args.{name}={model['flow'][name]}" for name in names),
    ]


def _initial_model(options: argparse.Namespace, rest: list[str]) -> "ImageModel | None":
    """Return the model of ``--init-from``, which decides size, channels and architecture, or None."""
    place, _ = take_option(INIT_FROM, rest)
    if place is None:
        return None
    from glow_app.restoration import PictureConditioning
    from glow_app.storage.stored_model import load_model

    model = load_model(place)
    if isinstance(model.conditioning, PictureConditioning):
        command = f"glow fit --config restore/NAME {INIT_FROM} {place} --data.root {options.folder}"
        raise UsageError(f"glow fit: {place} restores images and trains on crops of photographs; use {command}")
    return model


def options_parser() -> argparse.ArgumentParser:
    """Return the parser of the options of ``glow fit FOLDER``."""
    parser = Parser(
        prog="glow fit",
        usage="glow fit FOLDER [--minutes N] [--size N] [--no-classes] [OPTIONS]",
        description="Train a model on a folder of pictures, beginning from a bundled model of photographs. Subfolders "
        "are classes. Pictures, device and time decide size, model and number of steps, which are printed. Training "
        "stops early where validation no longer improves.",
        epilog="Other options of glow fit work too, such as --run_dir DIR: glow fit --help-all lists them.",
        add_help=False,
    )
    parser.add_argument("folder", help="folder of pictures", metavar="FOLDER")
    size = "height and width to resize to, a multiple of 16 (default: by pictures and device)"
    parser.add_argument("--size", type=positive_int, help=size, metavar="N")
    length = parser.add_mutually_exclusive_group()
    minutes = number_type(float, above=0, most=1e6)
    time = f"training time (default: by the number of pictures, at most {_MINUTES:g})"
    length.add_argument("--minutes", type=minutes, help=time, metavar="N")
    length.add_argument("--epochs", type=positive_int, help="passes over the pictures", metavar="N")
    devices = "cpu, gpu or mps (default: gpu if there is one)"
    parser.add_argument("--device", choices=("cpu", "gpu", "cuda", "mps"), help=devices)
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the whole run", metavar="N")
    parser.add_argument("--no-classes", action="store_true", help="ignore subfolders")
    scratch = "do not begin from a bundled model; another one is taken with --init-from MODEL"
    parser.add_argument("--from-scratch", action="store_true", help=scratch)
    parser.add_argument("--config", action="append", default=[], help="a preset (see glow presets)", metavar="NAME")
    parser.add_argument("--name", help="name of the run (default: that of the folder)")
    return parser


def _inspect(listing: FolderListing) -> tuple[float, int]:
    """Return the median shorter side of evenly spaced pictures, and the channels: 1 if all are grey, otherwise 3."""
    sides, modes, failure = [], set(), ""
    for file in listing.files[:: max(1, len(listing.files) // _NUM_INSPECTED)]:
        try:
            with open_image(listing.root / file.name) as image:
                sides.append(min(image.size))
                modes.add(image.mode)
        except Exception as error:  # damaged files are reported when they are decoded
            failure = failure or f"{listing.root / file.name}: {error}"
    if not sides:
        raise ValueError(f"no picture of {listing.root} can be read; {failure}")
    is_grey = modes <= {"1", "L", "LA", "I", "I;16"}
    return statistics.median(sides), 1 if is_grey else 3


def _slug(folder: str) -> str:
    name = "".join(char if char.isalnum() or char in "._-" else "-" for char in Path(folder).resolve().name)
    return name.strip(".-") or "run"
