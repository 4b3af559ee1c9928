"""Training checkpoints, read without running anything in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from glow_app.models.base import Density
from glow_app.storage.archive import ArchiveError, read_archive
from glow_app.storage.model_config import build_model

# Where the training module leaves what is needed to rebuild its model, as plain types.
CHECKPOINT_KEY = "glow_app"
MODEL_PREFIX = "model."
_OF_TENSORS = ("state_dict", "optimizer_states", "current_model_state")
_MOST_VALUES, _MOST_FACTS = 10**6, 20_000  # of a checkpoint, wherever they stand, and of what is beside its tensors


def density_of(checkpoint: Mapping[str, Any]) -> Density:
    """Return the model of what :func:`read_checkpoint` returned.

    Raises:
        ValueError: As :func:`~glow_app.storage.model_config.build_model`.
    """
    weights = {
        name.removeprefix(MODEL_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(MODEL_PREFIX)
    }
    facts = checkpoint[CHECKPOINT_KEY]
    return build_model(facts["model"], weights, facts["training"]).eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running anything in it.

    Raises:
        FileNotFoundError: If it is not a file.
        ValueError: If it is damaged, foreign, or would run code; see :func:`~glow_app.storage.archive.read_archive`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a checkpoint file")
    if path.suffix == ".safetensors":
        raise ValueError(f"{path} holds tensors alone; expected a .ckpt file or the folder of a model (see glow info)")
    try:
        with path.open("rb") as file:
            checkpoint = read_archive(file)
            require_few(checkpoint, _MOST_VALUES)
            if isinstance(checkpoint, dict):
                require_few(checkpoint | dict.fromkeys(_OF_TENSORS), _MOST_FACTS)
    except ArchiveError as error:
        raise ValueError(f"{path} {error}; use another checkpoint of the run") from error
    except OSError:
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise ValueError(f"{path} is truncated or damaged; use another checkpoint of the run") from error
    if not isinstance(checkpoint, dict) or not {CHECKPOINT_KEY, "state_dict"} <= checkpoint.keys():
        raise ValueError(f"{path} is a checkpoint of another project; expected one written by `glow fit`")
    facts, weights = checkpoint[CHECKPOINT_KEY], checkpoint["state_dict"]
    if not (
        isinstance(facts, dict)
        and all(isinstance(facts.get(name), dict) for name in ("model", "training"))
        and isinstance(weights, dict)
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items())
    ):
        raise ValueError(f"{path} is damaged; use another checkpoint of the run")
    return checkpoint


def require_few(values: Any, most: int) -> None:
    """Refuse containers with more values than fit into memory, which small files can describe by sharing parts.

    Raises:
        ValueError: If there are more values, counted wherever they stand.
    """
    waiting, count = [values], 0
    while waiting:
        one = waiting.pop()
        count += 1
        if count > most:
            raise ValueError(f"expected at most {most:,} values")
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple, set)) else ()
