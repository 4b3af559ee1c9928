"""Any trained model by its path: a checkpoint, an exported folder or a run's folder."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from glow_app.archive import ArchiveError, check_archive, require_few
from glow_app.density import Density
from glow_app.model import ImageModel
from glow_app.places import IN_RUN, find_folder, hint, origin
from glow_app.pretrained import CONFIG_NAME, load_pretrained, read_config
from glow_app.rebuild import build_model
from glow_app.seal import SEAL_KEY, places_of, strange_places

__all__ = [
    "CHECKPOINT_KEY",
    "MODEL_PREFIX",
    "density_of",
    "find_checkpoint",
    "load_density",
    "load_model",
    "read_checkpoint",
    "training_data",
    "training_facts",
]

# Where the training module leaves what is needed to rebuild its model, as plain types.
CHECKPOINT_KEY = "glow_app"
MODEL_PREFIX = "model."
# Where Lightning leaves the arguments of the data module; of these, what decides which images a split holds.
DATA_KEY = "datamodule_hyper_parameters"
DATA_ARGUMENTS = ("source", "seed", "validation_fraction", "test_fraction", "resize", "limit", "count")
_OF_TENSORS = ("state_dict", "optimizer_states", "current_model_state")
_MOST_VALUES, _MOST_FACTS = 10**6, 20_000  # of a checkpoint, wherever they stand, and of what is beside its tensors
DATA_PLACES = ("root", "cache_dir")


def load_model(path: str | Path, device: str | torch.device = "cpu") -> ImageModel:
    """Return the image model at ``path``, ready for use.

    From a training checkpoint these are the averaged weights, where the run averaged them.

    Args:
        path: A ``.ckpt`` file, an exported folder, or a run's folder (its exported model, else its best, else its last
            checkpoint); or what else :func:`~glow_app.pretrained.load_pretrained` takes, such as "fashion-mnist".
        device: Where to put it.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If what is there is damaged, foreign, a pickle that would run code, or a density of vectors.
    """
    model = load_density(path, device)
    if not isinstance(model, ImageModel):
        raise ValueError(f"{path} is a density of {model.things}, not of images; in Python, load_density reads it")
    return model


def load_density(path: str | Path, device: str | torch.device = "cpu") -> Density:
    """Return the model at ``path``, of images or of vectors; otherwise as :func:`load_model`."""
    path = find_checkpoint(path)
    return (load_pretrained(path) if path.is_dir() else density_of(read_checkpoint(path))).to(device)


def density_of(checkpoint: Mapping[str, Any]) -> Density:
    """Return the model of what :func:`read_checkpoint` returned.

    Raises:
        ValueError: As :func:`~glow_app.rebuild.build_model`.
    """
    weights = {
        name.removeprefix(MODEL_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(MODEL_PREFIX)
    }
    facts = checkpoint[CHECKPOINT_KEY]
    return build_model(facts["model"], weights, facts["training"]).eval()


def find_checkpoint(path: str | Path, in_run: Sequence[str] = IN_RUN) -> Path:
    """Return the checkpoint file or exported folder that ``path`` means.

    Args:
        path: A ``.ckpt`` file, an exported folder, or a run's folder; or a bundled model's name, or one of the hub.
        in_run: What to take of a run's folder, the first that is there.

    Raises:
        FileNotFoundError: If there is none.
    """
    if str(path) == "":
        raise FileNotFoundError("the path of the checkpoint is empty; give a .ckpt file, a model's or a run's folder")
    found = find_folder(path)
    if found is not None:
        return found
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no checkpoint {path}; give a .ckpt file, an exported model or a run's folder{hint(path)}"
        )
    if path.is_dir() and not (path / CONFIG_NAME).exists():
        for name in in_run:
            if (path / name).exists():
                return path / name
        if (run := _newest_run(path, in_run)) is not None:
            raise FileNotFoundError(f"{path} holds runs, and is no run itself; the newest is {run}")
        raise FileNotFoundError(f"{path} holds neither {CONFIG_NAME} nor best.ckpt nor last.ckpt: not a model or a run")
    return path


def _newest_run(folder: Path, in_run: Sequence[str]) -> Path | None:
    """Return the newest of the runs inside a folder, such as runs/mine or runs."""
    for pattern in ("*", "*/*"):
        found = [path for name in in_run for path in folder.glob(f"{pattern}/{name}")]
        if found:
            return max(found, key=lambda path: path.stat().st_mtime).parent
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running anything in it.

    Raises:
        FileNotFoundError: If it is not a file.
        ValueError: If it is damaged, foreign, or would run code; see :func:`~glow_app.archive.check_archive`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a checkpoint file")
    if path.suffix == ".safetensors":  # torch would read its tensors
        raise ValueError(f"{path} holds tensors alone; expected a .ckpt file or the folder of a model (see glow info)")
    try:
        # One open file: what is read is what was checked, also where another takes its place meanwhile.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a foreign file is told in this project's words
            check_archive(file)
            file.seek(0)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
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


def training_facts(path: str | Path) -> dict[str, Any]:
    """Return what is known of the training behind ``path``: version, epoch, steps, bits/dim, data, hub."""
    file = find_checkpoint(path)
    if file.is_dir():
        return read_config(file).get("training", {}) | origin(path)
    checkpoint = read_checkpoint(file)
    data = _chosen(checkpoint, DATA_ARGUMENTS)  # without places: an exported model is for others
    return {
        "epoch": checkpoint.get("epoch"),
        "step": checkpoint.get("global_step"),
        **checkpoint[CHECKPOINT_KEY]["training"],
        **({"data": data} if data else {}),
    }


def training_data(path: str | Path, trust: bool = False, given: Collection[str] = ()) -> dict[str, Any]:
    """Return which data the model at ``path`` was trained on, as arguments of ``load_split``; empty where unknown.

    An exported model does not know where the data lay; of a run's folder its checkpoint is asked. Places that this user
    has not sealed (see :mod:`glow_app.seal`) are left out, with a warning.

    Args:
        path: As of :func:`load_model`.
        trust: Whether a stranger's places count too.
        given: Names of those that are given anyway, and need no warning.
    """
    path = find_checkpoint(path, ("best.ckpt", "last.ckpt", "model"))
    if path.is_dir():
        data, found = read_config(path).get("training", {}).get("data", {}), None
        data = {name: value for name, value in data.items() if name in DATA_ARGUMENTS}
    else:
        checkpoint = read_checkpoint(path)
        data, found = _chosen(checkpoint, (*DATA_ARGUMENTS, *DATA_PLACES)), checkpoint.get(SEAL_KEY)
    if not all(isinstance(value, str | int | float | None) for value in data.values()):
        raise ValueError(f"{path} is damaged: what it says of its data are no plain values")
    for name in [] if trust else strange_places(places_of(data), found):
        value = data.pop(name)
        if name not in given:
            warnings.warn(
                f"{path} says {str(value)[:80]!r} for the {name} of its data, and has no seal of yours: it may be a "
                "stranger's and is left out; give it yourself, or pass --trust-data",
                stacklevel=2,
            )
    return data


def _chosen(checkpoint: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    arguments = checkpoint.get(DATA_KEY)
    return {name: arguments[name] for name in names if name in arguments} if isinstance(arguments, dict) else {}
