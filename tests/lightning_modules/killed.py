"""Train a run that is killed repeatedly, and another that is not: `python killed.py FOLDER`.

Each attempt is a forked process that runs with ``--resume auto`` and kills itself with SIGKILL at its n-th event: a
step, a validation, the write of half a checkpoint, a renaming and the like. The last attempt, and the other run, go to
their end. Prints JSON lines for each attempt: its exit code, the step that was saved before it, the step from which it
resumed, and the event at which it was killed.
"""

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401, before the forks
import sklearn.datasets  # noqa: F401, before the forks
import torch
from pytorch_lightning.callbacks import Callback
from scripts import fork

import glow_app.commands.fit_spec  # noqa: F401, before the forks
from glow_app.cli import main as glow
from lightning_modules.callbacks import ExportBest
from lightning_modules.image_module import ImageModule
from lightning_modules.runs.checkpoints import good_checkpoint

REPOSITORY = Path(__file__).parents[2]
OPTIONS = [
    f"--config={REPOSITORY / 'configs/digits.yaml'}",
    "--flow.num_steps=1",
    "--flow.hidden_channels=4",
    "--data.limit=112",
    "--data.batch_size=16",
    "--trainer.max_epochs=7",
    "--trainer.max_steps=46",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
    "--saving.every_n_steps=3",
    "--samples.num_images=10",
    "--data.horizontal_flip=true",
    "--name=photos.v2 (cats+dogs)",  # no word
]
KILLS = (34, 36, 36, 26, 42, 35)  # the fatal event of each attempt


class Events:
    """Counts events, and kills the process at the fatal one."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal = fatal
        self.count = 0

    def __call__(self, name: str) -> None:
        self.count += 1
        if self.count == self.fatal:
            print(json.dumps({"event": name}), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Count before and after a function."""
        original: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self(f"before {name}")
            result = original(*args, **kwargs)
            self(f"after {name}")
            return result

        setattr(owner, name, counted)


def train(folder: Path, fatal: int | None) -> None:
    """Train until the end or the fatal event."""
    events = Events(fatal)
    for owner, name in (
        (ImageModule, "training_step"),
        (ImageModule, "validation_step"),
        (ImageModule, "on_save_checkpoint"),
        (os, "replace"),
        (os, "fsync"),
        (Path, "replace"),
    ):
        events.around(owner, name)
    save = torch.save

    def save_in_halves(checkpoint: Any, file: Any) -> None:
        buffer = io.BytesIO()
        save(checkpoint, buffer)
        content = buffer.getvalue()
        file.write(content[: len(content) // 2])
        file.flush()
        events("half a checkpoint")
        file.write(content[len(content) // 2 :])

    torch.save = save_in_halves  # type: ignore[assignment]

    def print_step(self: Callback, trainer: Any, pl_module: Any) -> None:
        print(json.dumps({"resumed_at": trainer.global_step}), flush=True)

    ExportBest.on_train_start = print_step  # type: ignore[method-assign]
    if code := glow(["fit", *OPTIONS, "--resume=auto", f"--run_dir={folder}"]):
        raise SystemExit(code)


def saved_step(folder: Path) -> int:
    good = good_checkpoint(folder)
    return 0 if good is None else good[1]["global_step"]


def main() -> None:
    torch.set_num_threads(1)
    for number, fatal in enumerate((*KILLS, None, None)):
        folder = Path(sys.argv[1], "killed" if number <= len(KILLS) else "uninterrupted")
        print(json.dumps({"saved": saved_step(folder)}), flush=True)
        process = fork(train, folder, fatal)
        status = os.waitpid(process, 0)[1]
        print(json.dumps({"died": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
