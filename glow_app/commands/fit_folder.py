"""``glow fit FOLDER``: chooses model and size by the pictures, the device and what the run begins from."""

import math
import re
import statistics
from argparse import Namespace
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from glow_app.commands.presets import config_path
from glow_app.conditioning import AttributeConditioning
from glow_app.data.attributes import table_in
from glow_app.data.decoding import open_image
from glow_app.data.listing import FolderListing, all_class_names, list_images, split_layout
from glow_app.data.sources import attribute_kinds
from glow_app.messages import UsageError, pluralise
from glow_app.models.image_model import ImageModel
from glow_app.restoration import PictureConditioning
from glow_app.storage.model_folders import bundled_models, read_config
from lightning_modules.runs.length import NUM_VALIDATIONS

_SMALL = "folder_cpu"  # the preset on a CPU, and of runs that begin from a model
_START = "photos"  # the bundled model from which runs begin, and whose levels those of this preset are
# Presets of other runs, by their largest size.
_PRESETS = {32: "folder32", 64: "folder", 128: "folder128", math.inf: "folder256"}
# For runs of the small preset from another model. The rate rises for half of the run: training on pictures like those
# of the model stops early, at low rates, and on others reaches the high ones.
# With fewer than 200 steps the rate is smaller, since a fast rise ruins the initial weights.
_SCHEDULE = {"warmup_steps": 1000, "full_rate_steps": 200}
_STEPS = 30  # times the root of the number of pictures
_CONTRAST = 10.0  # of attributes
_PATIENCE = 4  # validations without a better figure before a run stops, of about ten
_SIZES = (16, 32, 64, 128)
_OVERLAYS = ("prior/", "trainer/", "logger/")
_NUM_INSPECTED = 200  # pictures whose size and colour are read; up to twice as many, to space them evenly
_FEW = 100


@dataclass
class Choices:
    """What the pictures decide.

    Attributes:
        configs: Presets and overlays.
        layer: Options that come after these.
        levels_of: Bundled model from whose levels the run begins, if any.
        usual_steps: The usual number of steps, if there is one.
    """

    configs: list[str] = field(default_factory=list)
    layer: dict[str, Any] = field(default_factory=dict)
    levels_of: str | None = None
    usual_steps: int | None = None


def require_usable(options: Namespace) -> None:
    """Raise UsageError if an option does not suit a folder of pictures."""
    if options.size is not None and (options.size < 1 or options.size % 16):
        raise UsageError(f"glow fit: --size {options.size} is not a multiple of 16")
    for name in options.config:
        if Path(config_path(name)).parent.name == "restore":  # config_path also refuses unknown names
            raise UsageError(
                f"glow fit: {name} trains on crops of photographs, not on whole pictures; use "
                f"glow fit --config {name} --data.root {options.folder}"
            )
    if options.from_scratch and options.init_from is not None:
        raise UsageError("glow fit: use either --from-scratch or --init-from, not both")


def choose(options: Namespace, model: ImageModel | None, given: Collection[str]) -> Choices:
    """Return the choices, and print them.

    Args:
        options: Of the command.
        model: Model of ``--init-from``, which decides size, channels and architecture.
        given: Names of all other options, which the choices do not decide.
    """
    if model is not None and isinstance(model.conditioning, PictureConditioning):
        command = f"glow fit --config restore/NAME --init-from {options.init_from} --data.root {options.folder}"
        place = options.init_from
        raise UsageError(f"glow fit: {place} restores images and trains on crops of photographs; use {command}")
    listing = list_images(Path(options.folder).absolute())
    parts = split_layout(listing)
    device = options.device or ("gpu" if torch.cuda.is_available() else "cpu")
    side, channels = _inspect(listing)
    attributes = () if "data.attributes" in given else _attributes(listing, model)
    classes = () if options.no_classes or attributes else all_class_names(parts)
    classes = classes if len(classes) > 1 else ()
    num_pictures = len(parts["train"].files)
    start = None
    size = options.size or min(_SIZES, key=lambda size: abs(math.log(size / side)))
    if model is not None:
        size = options.size or model.flow.image_shape[1]
        classes = _checked_against(model, channels, classes)
        channels = model.flow.image_shape[0]
    elif not options.from_scratch and channels == 3:
        start = _START
    elif not options.from_scratch:
        print("begins from scratch: the bundled models are of colour pictures (option: --init-from MODEL)")
    presets = [name for name in options.config if not name.startswith(_OVERLAYS)]
    is_begun = model is not None or start is not None
    larger = next(name for largest, name in _PRESETS.items() if size <= largest)
    preset = presets[-1] if presets else _SMALL if device == "cpu" or is_begun else larger
    is_usual = is_begun and not presets
    chosen = f"{size}x{size}" + ("" if is_usual else f", preset {preset}")
    print(f"chosen      {chosen}, on {device} (options: --size, --config, --device, --from-scratch)", flush=True)
    flow: dict[str, Any] = {}
    layer: dict[str, Any] = {
        "name": re.sub(r"[^\w.-]", "-", listing.root.resolve().name).strip(".-") or "run",
        "data": {"source": "folder", "root": str(listing.root)},
        "trainer": {"accelerator": device},
        "early_stopping": {"patience": _PATIENCE},
        "flow": flow,
    }
    if (model is None and not presets) or options.size is not None:
        flow["image_shape"] = [channels, size, size]
        flow |= _levels(size) if model is None and preset == _SMALL else {}
    if classes and model is None:
        flow["conditioning"] = {"type": "classes", "num_classes": len(classes)}
    if attributes:
        print(f"attributes  {', '.join(attributes)}, of the table in the folder (option: --data.attributes null)")
        layer["data"]["attributes"], layer["contrast"] = True, _CONTRAST
    if num_pictures < _FEW:
        layer["data"]["batch_size"] = max(1, min(32, num_pictures // 2))
    if is_usual:
        schedule = {"warmup_steps": _SCHEDULE["warmup_steps"]} if options.epochs else _SCHEDULE
        layer["lr_scheduler"] = schedule
    if options.epochs is not None:
        interval = max(1, options.epochs // NUM_VALIDATIONS)
        layer["trainer"] |= {"max_epochs": options.epochs, "check_val_every_n_epoch": interval}
        print(f"time        {pluralise(options.epochs, 'epoch')} (options: --minutes, --epochs)", flush=True)
    configs = list(dict.fromkeys([preset, *options.config]))
    return Choices(configs, layer, start, round(_STEPS * math.sqrt(num_pictures)) if is_usual else None)


def _levels(size: int) -> dict[str, Any]:
    """Return the levels of the bundled model for a size: without its finest, so that the coarsest means are small."""
    flow = read_config(bundled_models()[_START])["model"]["flow"]
    of_details = ("detail_steps", "detail_channels", "detail_features", "detail_blocks", "images_per_window")
    unit = 2 ** flow["num_levels"]  # of the sides of the coarsest means
    nums = range(1, 1 + len(flow["detail_steps"]))
    num = max(n for n in nums if size % (unit << n) == 0 and size >> n >= 2 * unit)
    levels = {name: flow[name] for name in ("num_levels", "num_steps", "hidden_channels", *of_details)}
    return {
        name: value[-num:] if name in of_details and isinstance(value, list) else value
        for name, value in levels.items()
    }


def _attributes(listing: FolderListing, model: ImageModel | None) -> tuple[str, ...]:
    """Return the names of the attributes in the folder's table, if there is one and the run can use it."""
    is_usable = model is None or isinstance(model.conditioning, AttributeConditioning)
    return tuple(attribute_kinds("folder", listing.root, True)) if is_usable and table_in(listing.root) else ()


def _checked_against(model: ImageModel, channels: int, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes that a run from ``model`` uses; print what of the pictures it does not."""
    if channels > model.flow.image_shape[0]:
        print("warning     the model of --init-from is grey, so colours are discarded")
    if classes and not hasattr(model.conditioning, "num_classes"):
        print(f"warning     {len(classes)} classes are ignored, because the model of --init-from has none")
        return ()
    return classes


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
