"""Train a model on a folder of pictures or with a preset, or continue a run.

Options with dots set any part of the run, such as --data.root DIR, --trainer.max_epochs N or --flow.num_steps N;
--print-config prints the specification of the run, and --help-all lists all options.
"""

import logging
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.parser import Parser, number_type, positive_int, seed_number
from glow_app.commands.presets import config_path
from glow_app.files import HUB
from glow_app.messages import UsageError, closest, format_warning
from glow_app.storage.model_folders import CONFIG_NAME, find_folder, refuse_missing
from glow_app.storage.run_config import read_yaml

# Importing Lightning takes seconds, so all that needs it is imported after the command line has been checked.
if TYPE_CHECKING:
    from glow_app.models.image_model import ImageModel

# Lightning expects a folder without other files, and uses what newer versions of torch deprecate.
_UNWANTED = ("exists and is not empty", "`isinstance\\(treespec, LeafSpec", "`broadcast_buffers`")
_OF_FOLDER = ("minutes", "epochs", "size", "device", "no_classes", "from_scratch")


def add_arguments(parser: Parser) -> None:
    """Add the command's options, except those with dots."""
    parser.usage = (
        "glow fit FOLDER [--minutes N] [--size N] [--no-classes] [OPTIONS]\n"
        "       glow fit --config NAME [--config OVERLAY] [OPTIONS]\n       glow fit --resume PATH [OPTIONS]"
    )
    config = "a preset (see glow presets) or a file, then overlays, each with --config"
    parser.add_argument("--config", "-c", action="append", default=[], help=config, metavar="NAME")
    parser.add_argument("--name", help="name of the run (default: that of the folder or preset)")
    parser.add_argument("--run_dir", help="folder of the run (default: runs/NAME/TIME)", metavar="DIR")
    resume = "run to resume: its folder, a .ckpt file, or auto with --run_dir, which starts the run if there is none"
    parser.add_argument("--resume", help=resume, metavar="PATH")
    init = "begin with the weights of another model, and take its architecture"
    parser.add_argument("--init-from", help=init, metavar="MODEL")
    levels = "begin with the levels of another model that fit, as with FOLDER from a bundled model of photographs"
    parser.add_argument("--init-levels-from", help=levels, metavar="MODEL")
    seed = "seed of the whole run (default: 0)"
    parser.add_argument("--seed", type=seed_number, help=seed, metavar="N")
    parser.add_argument("--print-config", action="store_true", help="print the specification of the run, and exit")
    parser.add_argument("--help-all", action="store_true", help="list all options with dots, and exit")
    group = parser.add_argument_group(
        "with FOLDER, whose subfolders are classes",
        "Pictures, device and time decide size, model and number of steps, which are printed. Training stops early "
        "where validation no longer improves.",
    )
    size = "height and width to resize to, a multiple of 16 (default: by pictures and device)"
    group.add_argument("--size", type=positive_int, help=size, metavar="N")
    length = group.add_mutually_exclusive_group()
    minutes = "training time (default: by the number of pictures, at most 30)"
    length.add_argument("--minutes", type=number_type(float, above=0, most=1e6), help=minutes, metavar="N")
    length.add_argument("--epochs", type=positive_int, help="passes over the pictures", metavar="N")
    devices = "cpu, gpu or mps (default: gpu if there is one)"
    group.add_argument("--device", choices=("cpu", "gpu", "cuda", "mps"), help=devices)
    group.add_argument("--no-classes", action="store_true", help="ignore subfolders")
    group.add_argument("--from-scratch", action="store_true", help="do not begin from a bundled model")


def main(arguments: list[str]) -> None:
    """Train with the rest of the command line; raise UsageError if an option is unknown or invalid."""
    parser = Parser(prog="glow fit", description=__doc__)
    add_arguments(parser)
    has_folder = bool(arguments) and not arguments[0].startswith("-")
    options, words = parser.parse_known_args(arguments[has_folder:])
    options.folder = arguments[0] if has_folder else None
    if options.help_all:
        from glow_app.commands.fit_spec import all_options

        print(all_options())
        return
    _fit(options, dotted_options(words))


def train(
    folder: str | Path, minutes: float | None = None, run_dir: str | Path | None = None, **options: Any
) -> "ImageModel":
    """Train a model of the pictures in a folder, as ``glow fit FOLDER`` does, and return it.

    Args:
        folder: Folder of pictures; subfolders are classes.
        minutes: Training time; by default, a number of steps that suits the pictures, in at most 30 minutes.
        run_dir: Folder of the run; ``runs/NAME/TIME`` if None.
        **options: Further options of the command by name, such as ``size=64``, ``device="cpu"``, ``no_classes=True`` or
            ``from_scratch=True``; those with dots as in ``**{"trainer.max_epochs": 3}``.
    Raises:
        UsageError: If an option is unknown or invalid.
        FileNotFoundError: If the folder does not exist.
        ValueError: If it contains no pictures.
    """
    from glow_app.storage.stored_model import load_model

    parser = Parser(prog="train")
    add_arguments(parser)
    chosen = parser.parse([])
    for name, value in ({"minutes": minutes, "run_dir": run_dir} | options).items():
        if "." not in name and name not in chosen:
            raise UsageError(f"train has no option {name}{closest(name, vars(chosen))}")
        if "." not in name and value is not None:
            setattr(chosen, name, str(value) if isinstance(value, Path) else value)
    chosen.folder = str(folder)
    return load_model(_fit(chosen, {name: value for name, value in options.items() if "." in name}))


def _fit(options: Namespace, dotted: Mapping[str, Any]) -> str:
    """Train, and return the run's folder."""
    _refuse_mistakes(options, dotted)
    _refuse_missing(options)
    with _process_for_training():
        from glow_app.commands.fit_spec import compose
        from glow_app.storage.run_config import RUN_CONFIG, read_run_config, yaml_text
        from lightning_modules.run import run
        from lightning_modules.runs.run_folder import Launch
        from lightning_modules.runs.start import Start, begun, resumed

        launch = Launch(options.resume == "auto")
        start = Start() if options.resume is None else resumed(options.resume, options.run_dir)
        if launch.run_dir is None:
            spec, start, length = compose(options, dotted, start)
            if options.print_config:
                print(yaml_text(spec), end="")
                return ""
            return run(spec, start, launch, length)
        if (written := read_run_config(Path(launch.run_dir))) is None:  # by the first process
            raise ValueError(f"there is no {launch.run_dir}/{RUN_CONFIG}: all machines must share the run's folder")
        if start.checkpoint is None:
            start = begun(written.get("init_from"), written.get("init_levels_from"))
        return run(written, start, launch)


@contextmanager
def _process_for_training() -> Iterator[None]:
    """Set warnings, logging and arithmetic for training, and leave the process as it was."""
    import torch

    format_before, flushes = warnings.formatwarning, sys.float_info.min / 2 == 0
    with warnings.catch_warnings():
        import pytorch_lightning

        warnings.formatwarning = format_warning  # Lightning has replaced it
        loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.WARNING)
            warnings.filterwarnings("ignore", category=pytorch_lightning.utilities.warnings.PossibleUserWarning)
            for phrase in _UNWANTED:
                warnings.filterwarnings("ignore", f".*{phrase}")
            # Arithmetic with numbers below 1e-38, as in old moments, can be a hundred times slower.
            torch.set_flush_denormal(True)
            yield
        finally:
            torch.set_flush_denormal(flushes)
            warnings.formatwarning = format_before
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def dotted_options(words: list[str]) -> dict[str, Any]:
    """Return options such as ``--flow.num_steps 8`` or ``--flow.num_steps=8`` by name, with values of YAML.

    Raises:
        UsageError: If a word is no option, or an option has no value.
    """
    options, rest = dict[str, Any](), iter(words)
    for word in rest:
        name, _, text = word.partition("=")
        if not name.startswith("--"):
            raise UsageError(f"glow fit: unexpected argument {word}")
        value = text if "=" in word else next(rest, None)
        if value is None:
            raise UsageError(f"glow fit: {name} needs a value")
        options[name.removeprefix("--")] = _value(value)
    return options


def _value(text: str) -> Any:
    try:
        value = read_yaml(text)
    except ValueError:  # a path may begin with a sign of YAML
        return text
    # A folder may be called 2024.10; where a number is expected, the text is one.
    return text if isinstance(value, float) and str(value) != text else value


def _refuse_mistakes(options: Namespace, dotted: Mapping[str, Any]) -> None:
    """Raise UsageError if options do not go together."""
    is_resumed, auto = options.resume is not None, options.resume == "auto"
    of_folder = [name for name in _OF_FOLDER if getattr(options, name)]
    if of_folder and not options.folder:
        instead = {"minutes": "--trainer.max_time DAYS:HOURS:MINUTES:SECONDS", "epochs": "--trainer.max_epochs N"}
        remedy = f"use {instead[of_folder[0]]}, of the whole run" if of_folder[0] in instead else "give FOLDER first"
        raise UsageError(f"glow fit: --{of_folder[0].replace('_', '-')} is an option of glow fit FOLDER; {remedy}")
    if options.folder and is_resumed and not (auto and options.run_dir):
        raise UsageError("glow fit FOLDER starts a new run; to resume one, use glow fit --resume RUN")
    if is_resumed and not auto and options.init_from is not None:
        raise UsageError("glow fit: use either --init-from or --resume, not both")
    is_enough = options.folder or options.config or is_resumed or options.print_config
    if not is_enough and not any(name.partition(".")[0] == "flow" for name in dotted):
        raise UsageError("glow fit needs a folder of pictures or --config NAME, such as folder32 (see glow presets)")


def _refuse_missing(options: Namespace) -> None:
    """Raise FileNotFoundError or UsageError if a folder, preset or run does not exist, and ValueError if it is none."""
    for name in options.config:
        config_path(name)
    if options.folder:
        from glow_app.data.listing import require_folder

        require_folder(Path(options.folder))
    if (place := options.resume) in (None, "auto"):
        return
    refuse_missing(place)
    if place.startswith(HUB) or find_folder(place) or Path(place, CONFIG_NAME).exists():
        raise ValueError(
            f"{place} is an exported model; --resume needs a .ckpt file or a run; begin from it with --init-from"
        )
