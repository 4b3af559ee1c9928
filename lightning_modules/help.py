"""What `--help` says of the training commands, before the options of Lightning or in their place."""

__all__ = ["HELP"]

_EVALUATION = """usage: glow {command} --checkpoint PATH [OPTIONS]

Bits/dim of a checkpoint on the {split} images, beside two simple references.

options:
  --checkpoint PATH      a .ckpt file, or a run folder (its best checkpoint); data and settings come from it
  --data.root DIR        folder of the images, if it has moved
  --data.limit N         use at most N images
  --model.num_draws N    dequantisation draws; 1 gives the number of the literature
  --trust-data           read the folders and addresses named by a checkpoint of somebody else

Any other option of glow fit overrides that of the checkpoint. For an exported model, use glow evaluate."""

HELP = {
    "fit": """usage: glow fit --config FILE [--config OVERLAY] [OPTIONS]
       glow fit --resume PATH [OPTIONS]

Train a model. Common options:
  --config FILE          a preset of configs/; overlays follow, each with --config
  --data.root DIR        folder of pictures, with --config configs/folder.yaml
  --name NAME            name of the run; its folder is runs/NAME/TIME, or that of --run_dir DIR
  --trainer.max_epochs N
  --resume PATH          continue a run: its folder, a .ckpt file, or auto with --run_dir (starts it if it is new)
  --trust-data           with --resume: read the folders and addresses named by a checkpoint of somebody else
  --print_config         print the configuration and exit

All options:
""",
    "estimate": """usage: glow estimate --config FILE [OPTIONS]

Parameters, memory in the three modes and time of a training, measured before it starts.

options:
  --config FILE          as for glow fit, whose other options apply too, except --resume
  --batch-size N         short for --data.batch_size N""",
    "validate": _EVALUATION.format(command="validate", split="validation"),
    "test": _EVALUATION.format(command="test", split="test"),
}
