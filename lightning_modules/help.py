"""What `--help` says of the training commands, before the options of Lightning or in their place."""

__all__ = ["HELP"]

_EVALUATION = """usage: glow {command} --checkpoint PATH [OPTIONS]

Bits/dim of a checkpoint on the {split} images, beside two simple references.

options:
  --checkpoint PATH      a .ckpt file or a run's folder: its best checkpoint; data and settings are its own
  --data.root DIR        where the images lie now, if they have been moved
  --data.limit N         measure on so many images
  --model.num_draws N    dequantisation draws; 1 gives the number of the literature
  --trust-data           read the folders and addresses that a checkpoint of somebody else names

Any other option of glow fit overrides what the checkpoint says. An exported model is measured by glow evaluate."""

HELP = {
    "fit": """usage: glow fit --config FILE [--config OVERLAY] [OPTIONS]
       glow fit --resume PATH [OPTIONS]

Train a model. What is used most:
  --config FILE          configs/ of the repository has one for each experiment, and overlays to go on top
  --data.root DIR        your own folder of pictures, with --config configs/folder.yaml
  --name NAME            first part of the run's folder, runs/NAME/TIME; --run_dir DIR gives the whole of it
  --trainer.max_epochs N
  --resume PATH          go on with a run: its folder, a .ckpt file, or auto with --run_dir, which begins it or goes on
  --trust-data           with --resume: read the folders and addresses that a checkpoint of somebody else names
  --print_config         print the whole configuration, and do nothing

All options:
""",
    "estimate": """usage: glow estimate --config FILE [OPTIONS]

Parameters, memory in the three modes and time of a training, before it starts.

options:
  --config FILE          as of glow fit, and with it all other options of glow fit (glow fit --help), but --resume
  --batch-size N         short for --data.batch_size N""",
    "validate": _EVALUATION.format(command="validate", split="validation"),
    "test": _EVALUATION.format(command="test", split="test"),
}
