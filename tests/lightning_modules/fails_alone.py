"""A training of two processes, the first of which fails while the second waits for it and would wait forever.

python tests/lightning_modules/fails_alone.py RUN_DIR
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from glow_app.cli import main
from lightning_modules.callbacks import Throughput

CONFIG = Path(__file__).parents[2] / "configs/digits.yaml"


def on_train_batch_end(self: Throughput, trainer: Any, *_: Any) -> None:
    waiting = Path(sys.argv[1]) / "waiting"
    if trainer.global_step == 2 and trainer.global_rank == 1:
        waiting.write_text(str(os.getpid()))
        time.sleep(10_000)
    while trainer.global_step == 2 and not waiting.exists():
        time.sleep(0.05)
    if trainer.global_step == 2:
        raise OSError("no space left on device")


if __name__ == "__main__":
    Throughput.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign,assignment]
    tiny = ["--flow.num_steps=1", "--flow.hidden_channels=4", "--trainer.accelerator=cpu"]
    several = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    sys.exit(main(["fit", f"--config={CONFIG}", f"--run_dir={sys.argv[1]}", *tiny, *several]))
