"""Read training checkpoints without running code from them."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.storage.model_config import build_model

# Arguments of the data module that determine the images of a split.
DATA_ARGUMENTS = ("source", "seed", "validation_fraction", "test_fraction", "resize", "limit", "count")

CHECKPOINT_KEY = "glow_app"  # under it the training module stores, as plain types, what rebuilds its model
_PREFIX = "model."


def model_of(checkpoint: Mapping[str, Any]) -> LoadedModel:
    """Return the model of a checkpoint from :func:`read_checkpoint`; raise ValueError as :func:`build_model`."""
    state = checkpoint["state_dict"].items()
    weights = {str(name).removeprefix(_PREFIX): value for name, value in state if str(name).startswith(_PREFIX)}
    facts = checkpoint[CHECKPOINT_KEY]
    return build_model(facts["model"], weights, facts["training"]).eval()


def facts_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of the training in a checkpoint; without folders, because exported models are shared."""
    arguments = checkpoint.get("datamodule_hyper_parameters") or {}  # stored by Lightning
    data = data_facts(arguments)
    facts = {"epoch": checkpoint.get("epoch"), "step": checkpoint.get("global_step")}
    return facts | checkpoint[CHECKPOINT_KEY]["training"] | ({"data": data} if data else {})


def data_facts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those arguments of the data module that determine a split, without the path of a table of attributes."""
    data = {name: arguments[name] for name in DATA_ARGUMENTS if name in arguments}
    return data | ({"attributes": True} if arguments.get("attributes") is True else {})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running code from it; its tensors are on the CPU.

    Raises:
        FileNotFoundError: If ``path`` is not a file.
        ValueError: If the file is damaged, of another project, or contains anything but tensors and plain types.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a checkpoint file")
    if path.suffix == ".safetensors":
        raise ValueError(f"{path} contains only tensors; expected a .ckpt file or a model's folder (see glow info)")
    match _load(path):
        case {"glow_app": {"model": dict(), "training": dict()}, "state_dict": dict()} as checkpoint:
            return checkpoint
    raise ValueError(f"{path} is not a checkpoint of `glow fit`")


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise ValueError("compressed or overlapping entries, which torch does not write")
                if (name := archive.testzip()) is not None:  # torch does not compare checksums
                    raise ValueError(f"the checksum of {name} is wrong")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} contains code, or objects other than tensors and plain types; nothing was run"
        ) from error
    except Exception as error:  # the type of error depends on where the file is damaged
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is truncated or damaged, or not a checkpoint ({reason})") from error
