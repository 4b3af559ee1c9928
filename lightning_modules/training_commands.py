"""Training commands. Help and simple mistakes are handled before Lightning is imported, which takes seconds."""

from pathlib import Path

from glow_app.files import HUB
from glow_app.messages import UsageError
from glow_app.storage.model_folders import CONFIG_NAME, find_folder, refuse_missing
from lightning_modules.command_line.arguments import take_option, take_options
from lightning_modules.presets import config_path

_HELP = """usage: glow fit FOLDER [--minutes N] [--size N] [--no-classes] [OPTIONS]
       glow fit --config NAME [--config OVERLAY] [OPTIONS]
       glow fit --resume PATH [OPTIONS]

Train a model on a folder of pictures (glow fit FOLDER --help lists its
options) or with a preset, or continue a run.

common options:
  --config NAME           a preset (see glow presets) or a file, then overlays,
                          each with --config
  --data.root DIR         folder of pictures, with --config folder
  --name NAME             name of the run (default: that of the preset)
  --run_dir DIR           folder of the run (default: runs/NAME/TIME)
  --trainer.max_epochs N  passes over the images (default: that of the preset)
  --resume PATH           run to resume: its folder, a .ckpt file, or auto with
                          --run_dir, which starts the run if there is none
  --init-from MODEL       begin with the weights of another model, and take its
                          architecture: a run, a .ckpt file, an exported folder,
                          a bundled model or hf://USER/NAME
  --init-levels-from MODEL
                          begin with the levels of another model that fit, as
                          glow fit FOLDER does with a bundled one
  --print_config          print the configuration and exit
  --help-all              list all options"""

# Prefixes of options that can replace --config.
_WITHOUT_CONFIG = ("--kind", "--model", "--resume", "--print_config", "--help-all")


def main(command: str, arguments: list[str]) -> None:
    """Run a training command."""
    if command == "presets":
        from lightning_modules.presets import main as run
    elif arguments and not arguments[0].startswith("-"):
        from lightning_modules.folder_run import main as run
    elif not {"-h", "--help"}.isdisjoint(arguments):
        print(_HELP)
        return
    else:
        _refuse_simple_mistakes(arguments)
        from lightning_modules.glow_cli import main as run
    run(arguments)


def _refuse_simple_mistakes(arguments: list[str]) -> None:
    """Refuse missing or unknown configurations and checkpoints, without building the parser."""
    configs, _ = take_options("--config", arguments)
    for config in configs:
        config_path(config)
    checkpoint, _ = take_option("--resume", arguments)
    if not configs and not any(word.startswith(_WITHOUT_CONFIG) for word in arguments):
        raise UsageError("glow fit needs a folder of pictures or --config NAME, such as folder32 (see glow presets)")
    if checkpoint in (None, "auto"):
        return
    refuse_missing(checkpoint)
    if checkpoint.startswith(HUB) or find_folder(checkpoint) or Path(checkpoint, CONFIG_NAME).exists():
        raise ValueError(
            f"{checkpoint} is an exported model; --resume needs a .ckpt file or a run; begin from it with --init-from"
        )
