"""The checkpoint or model from which a run starts; its configuration is put before the options of the command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from glow_app.messages import UsageError
from glow_app.models.image_model import ImageModel
from glow_app.nn.class_path import describe_part
from glow_app.storage.checkpoint import density_of
from glow_app.storage.stored_model import RUN_CONFIG, StoredModel, newest_run
from lightning_modules.command_line.arguments import INIT_FROM, INIT_LEVELS_FROM, read_config, take_option, take_options
from lightning_modules.presets import config_path
from lightning_modules.runs.checkpoints import good_checkpoint, read_whole
from lightning_modules.runs.run_config import known_run_config


class Start(NamedTuple):
    """Where a run starts."""

    arguments: list[str]  # for the parser
    place: str | None = None  # of a checkpoint or of ``source``; None for a new run that begins from nothing
    begin_anew: bool = False  # a run that left no checkpoint may be restarted in its folder
    first_step: int = 0  # number of optimiser steps that the checkpoint has done
    config: Mapping[str, Any] = {}  # of the checkpoint's run
    data: Mapping[str, Any] = {}  # arguments of the data module in the checkpoint, with its record
    source: ImageModel | None = None  # the model of --init-from or --init-levels-from, from which a new run begins
    by_levels: bool = False  # whether only the levels that fit are taken from ``source``


def start_of(arguments: list[str], scratch: Path) -> Start:
    """Return where ``glow fit`` starts; write the configuration of a run or model to ``scratch``."""
    config = scratch / "config.yaml"
    checkpoint, arguments = take_option("--resume", arguments)
    place, arguments = take_option(INIT_FROM, arguments)
    levels_of, arguments = take_option(INIT_LEVELS_FROM, arguments)
    begin_anew = checkpoint == "auto"
    if begin_anew:
        run_dir, _ = take_option("--run_dir", arguments)
        if run_dir is None:
            raise UsageError("glow fit --resume auto needs --run_dir, the folder of the run to resume or start")
        good = good_checkpoint(Path(run_dir))
        checkpoint = None if good is None else str(good)
    elif checkpoint is not None and place is not None:
        raise UsageError(f"glow fit: use either {INIT_FROM} or --resume, not both")
    if checkpoint is not None:
        return _continued(checkpoint, arguments, config)
    if place is None and levels_of is None:
        return Start(arguments, begin_anew=begin_anew)
    model = StoredModel(place or str(levels_of)).load_image_model()
    if place is None:
        return Start(arguments, levels_of, begin_anew, source=model, by_levels=True)
    config.write_text(yaml.safe_dump({"model": config_of(model)}, sort_keys=False))
    return Start([*arguments, f"--config={config}"], place, begin_anew, source=model)


def _continued(place: str, arguments: list[str], config: Path) -> Start:
    """Return the start from a checkpoint; write the configuration of its run to ``config``."""
    run = newest_run(Path(place))
    path = good_checkpoint(run) if run.is_dir() else run
    if path is None:
        raise FileNotFoundError(f"{run} is not a run that can be resumed: it has no checkpoint")
    checkpoint = read_whole(path)
    density_of(checkpoint)  # raises clearer errors than Lightning
    stored = known_run_config(path.parent)
    if stored is None:  # then the first --config is that of the run
        configs, arguments = take_options("--config", arguments)
        if not configs:
            raise UsageError(f"glow fit: no {RUN_CONFIG} next to {path}; pass that of its run with --config")
        stored = read_config(config_path(configs[0])) or {}
        arguments = [*(f"--config={overlay}" for overlay in configs[1:]), *arguments]
    config.write_text(yaml.safe_dump(stored, sort_keys=False))
    data = checkpoint.get("datamodule_hyper_parameters") or {}  # stored by Lightning
    arguments = [f"--config={config}", f"--run_dir={path.parent}", *arguments, f"--ckpt_path={path}"]
    return Start(arguments, str(path), False, checkpoint.get("global_step", 0), stored, data)


def config_of(model: ImageModel) -> dict[str, Any]:
    """Return the ``model`` section of the configuration of a run that trains ``model`` further."""
    flow: Any = describe_part(model.flow)
    flow["init_args"] = {"conditioning": None, **flow["init_args"]}  # otherwise that of a preset would remain
    return model.config | {"flow": flow}
