"""`glow fit` that waits after its fourteenth step to be killed, but only once.

python tests/lightning_modules/waits_once.py MARK fit ...; the file MARK is there from then on.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from glow_app.cli import main
from lightning_modules.callbacks import Throughput

MARK = Path(sys.argv[1])


def on_train_batch_end(self: Throughput, trainer: Any, *_: Any) -> None:
    if trainer.global_step == 14 and not MARK.exists():
        MARK.touch()
        threading.Event().wait()


if __name__ == "__main__":
    Throughput.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign,assignment]
    sys.exit(main(sys.argv[2:]))
