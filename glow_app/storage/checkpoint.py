"""Read training checkpoints without running code from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from glow_app.models.base import Density
from glow_app.storage.archive import ArchiveError, read_archive
from glow_app.storage.model_config import build_model

# Key under which the training module stores, as plain types, what rebuilds its model.
CHECKPOINT_KEY = "glow_app"
MODEL_PREFIX = "model."


def density_of(checkpoint: Mapping[str, Any]) -> Density:
    """Return the model of a checkpoint from :func:`read_checkpoint`.

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
    """Read a training checkpoint without running code from it.

    Raises:
        FileNotFoundError: If ``path`` is not a file.
        ValueError: If the file is damaged, of another project, or would run code; see
            :func:`~glow_app.storage.archive.read_archive`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a checkpoint file")
    if path.suffix == ".safetensors":
        raise ValueError(f"{path} contains only tensors; expected a .ckpt file or a model's folder (see glow info)")
    try:
        with path.open("rb") as file:
            checkpoint = read_archive(file)
    except ArchiveError as error:
        raise ValueError(f"{path} {error}; use another checkpoint of the run") from error
    except OSError:
        raise
    except Exception as error:  # the type of error depends on where the file is damaged
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
