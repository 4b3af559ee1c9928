"""The best checkpoint so far, wherever its run's folder has gone."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint

__all__ = ["BestCheckpoint"]


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt`` in the run's folder.

    Lightning forgets what was best when a folder was moved, and then replaces it by the next one, however bad.

    Args:
        run_dir: The run's folder.
        monitor: The metric, smaller is better.
    """

    def __init__(self, run_dir: str, monitor: str) -> None:
        super().__init__(run_dir, "best", monitor=monitor, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best one over, if it is here; no other path, since what is outdone is deleted."""
        assert self.dirpath is not None
        path = Path(self.dirpath, Path(str(state_dict["best_model_path"])).name)
        if path.is_file():
            self.best_model_path = self.kth_best_model_path = str(path)
            self.best_model_score = self.kth_value = torch.as_tensor(state_dict["best_model_score"])
            self.best_k_models = {str(path): self.kth_value}
