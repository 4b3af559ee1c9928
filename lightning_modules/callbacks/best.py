"""The best checkpoint so far, wherever its run's folder has gone."""

from pathlib import Path
from typing import Any

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
        """Take the best one over, if it is here."""
        assert self.dirpath is not None
        here, best = Path(self.dirpath), Path(state_dict["best_model_path"] or "none").name
        if (here / best).exists():
            score = state_dict["best_model_score"]
            path = str(here / best)
            known = {"best_k_models": {path: score}, "kth_best_model_path": path, "kth_value": score}
            state_dict = {**state_dict, **known, "dirpath": self.dirpath, "best_model_path": path}
        super().load_state_dict(state_dict)
