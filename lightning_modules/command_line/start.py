"""What the training commands print before Lightning does anything, and which of its warnings they leave out."""

import logging
import warnings

from glow_app.messages import format_warning

__all__ = ["only_helps", "quiet"]

# Warnings of Lightning for developers.
UNWANTED = (
    "does not have many workers",
    "args parameter is intended",
    "exists and is not empty",
    "LeafSpec",
    "callbacks used to create the checkpoint need to be provided",
    "smaller than the logging interval",
    "could not find the monitored key",
    "broadcast_buffers",
)

_EVALUATION = """usage: glow {command} --checkpoint PATH [OPTIONS]

Bits/dim of a checkpoint on the {split} images, beside two simple references.

options:
  --checkpoint PATH      a .ckpt file, or a run folder (its best checkpoint); data and settings come from it
  --data.root DIR        folder of the images, if it has moved
  --data.limit N         use at most N images
  --model.num_draws N    dequantisation draws; 1 gives the number of the literature
  --trust-data           read the folders and addresses named by a checkpoint of somebody else

Any other option of glow fit overrides that of the checkpoint. For an exported model, use glow evaluate."""

# Before the options of Lightning for "fit", in their place for the others.
HELP = {
    "fit": """usage: glow fit FOLDER [--minutes N] [OPTIONS]         (glow fit FOLDER --help)
       glow fit --config NAME [--config OVERLAY] [OPTIONS]
       glow fit --resume PATH [OPTIONS]

Train a model: of the pictures in a folder, by a preset, or further. Common options:
  --config NAME          a preset (see glow presets) or a file; overlays follow, each with --config
  --data.root DIR        folder of pictures, with --config folder
  --name NAME            name of the run; its folder is runs/NAME/TIME, or that of --run_dir DIR
  --trainer.max_epochs N
  --resume PATH          continue a run: its folder, a .ckpt file, or auto with --run_dir (starts it if it is new)
  --trust-data           with --resume: read the folders and addresses named by a checkpoint of somebody else
  --print_config         print the configuration and exit

All options:
""",
    "estimate": """usage: glow estimate --config NAME [OPTIONS]

Parameters, memory in the three modes and time of a training, measured before it starts.

options:
  --config NAME          as for glow fit, whose other options apply too, except --resume
  --batch-size N         short for --data.batch_size N""",
    "validate": _EVALUATION.format(command="validate", split="validation"),
    "test": _EVALUATION.format(command="test", split="test"),
}


def only_helps(command: str, arguments: list[str]) -> bool:
    """Print the help, if it is asked for, and return whether that is all: the parser continues the help of fit."""
    asked = not {"-h", "--help"}.isdisjoint(arguments)
    if asked:
        print(HELP[command])
    return asked and command != "fit"


def quiet() -> None:
    """Format warnings as this project does, and leave out those that are for developers."""
    warnings.formatwarning = format_warning  # Lightning has put its own in the place of the command's
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for words in UNWANTED:
        warnings.filterwarnings("ignore", f".*{words}.*")
