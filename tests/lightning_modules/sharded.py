"""What every rank of a test of sharded training runs: `torchrun sharded.py FOLDER`, with a process or with two.

One process trains as always, two divide the weights, all on the same global batches and clipped at nearly every step.
Both leave a checkpoint halfway, and two processes go on from either. Each rank writes what it ended with.
"""

import os
import sys
from pathlib import Path
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from ranks import NUM_STEPS, PoisonsOneRank, train
from several_ranks import distance

from glow_app.running import Memory, reversible
from glow_app.tasks import Upscale
from lightning_modules.callbacks import EMA
from lightning_modules.callbacks.guard import roll_back
from lightning_modules.fsdp import FullyShardedStrategy
from lightning_modules.runs.recovery import read_whole
from lightning_modules.sharding import num_parameters

RUNS: list[tuple[Memory, str, int]] = [
    *((memory, precision, 1) for memory in get_args(Memory) for precision in ("32-true", "64-true")),
    ("store", "32-true", 2),
    ("reversible", "32-true", 2),
    ("reversible", "bf16-mixed", 1),
]

# Kernels of 7 x 7 numbers are no multiple of two processes; most gradients are longer than 1.
OPTIONS = {"hidden_channels": 7, "gradient_clip_val": 1.0}


class SaveHalfway(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == NUM_STEPS // 2:
            trainer.save_checkpoint(self.path)


class Count(Callback):
    """Counts the numbers that this process holds."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        (average,) = [one.average for one in trainer.callbacks if isinstance(one, EMA)]  # type: ignore[attr-defined]
        moments = [value for state in trainer.optimizers[0].state.values() for value in state.values() if value.ndim]
        self.counts = {
            "whole": num_parameters(pl_module),
            "weights": count(pl_module.parameters()),
            "averages": count(average.parameters()),
            "moments": count(moments),
        }


class GoBack(Callback):
    """Goes back to a checkpoint, as the guard may, and keeps how far from it training then is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.distances: dict[str, float] = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        roll_back(trainer, pl_module, self.path)
        found: dict[str, Any] = {"weights": pl_module.state_dict()}
        (average,) = [one.average for one in trainer.callbacks if isinstance(one, EMA)]  # type: ignore[attr-defined]
        found["averages"] = {
            name.removeprefix("module."): tensor for name, tensor in average.state_dict().items() if name[0] == "m"
        }
        states = trainer.optimizers[0].state_dict()["state"]
        found["moments"] = {f"{n}{key}": tensor for n, state in states.items() for key, tensor in state.items()}
        saved = read_whole(self.path)
        expected = {"weights": saved["current_model_state"], "averages": saved["state_dict"]}
        states = saved["optimizer_states"][0]["state"]
        expected["moments"] = {f"{n}{key}": tensor for n, state in states.items() for key, tensor in state.items()}
        if trainer.is_global_zero:
            self.distances = {name: distance(found[name], expected[name]) for name in expected}


def count(tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)


def main() -> None:
    folder, world_size, rank = Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    torch.set_num_threads(1)
    found: dict[Any, dict[str, Any]] = {}

    def run(key: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        strategy = FullyShardedStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
        found[key] = train(*arguments, world_size, folder, strategy=strategy, **OPTIONS, **options)
        return found[key]

    half = {name: folder / f"half_of_{name}.ckpt" for name in (1, 2)}
    for setting in RUNS:
        counter = Count()
        first = setting == RUNS[0]
        run(setting, *setting, callbacks=[counter, *([SaveHalfway(half[world_size])] if first else [])])
        found[setting]["counts"] = counter.counts
    run("restorer", *RUNS[0], task=Upscale())
    if world_size > 1:
        for name, path in half.items():
            run(f"resumed from {name}", *RUNS[0], ckpt_path=path)
        back = GoBack(half[1])
        run("went back", *RUNS[0], callbacks=[back])
        found["went back"]["distances"] = back.distances
        run("poisoned", *RUNS[0], cls=PoisonsOneRank)
        if rank == 1:
            reversible.MAX_DRIFT = dict.fromkeys(reversible.MAX_DRIFT, -1.0)
        run("one drifted", "reversible", "32-true", 1)
    torch.save(found, folder / f"rank{rank}of{world_size}.pt")


if __name__ == "__main__":
    main()
