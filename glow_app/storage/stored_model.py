"""A model at a place: resolved once, hashed once."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from glow_app.models.base import Density
from glow_app.models.image_model import ImageModel
from glow_app.storage.checkpoint import CHECKPOINT_KEY, density_of, read_checkpoint
from glow_app.storage.exported_config import CONFIG_NAME, WEIGHTS_NAME, read_config
from glow_app.storage.places import IN_RUN, find_folder, hint, origin
from glow_app.storage.pretrained import DIRECTIONS_NAME, load_pretrained, model_hash
from glow_app.storage.seal import SEAL_KEY, places_of, strange_places

# Where Lightning leaves the arguments of the data module; of these, what decides which images a split holds.
DATA_KEY = "datamodule_hyper_parameters"
DATA_ARGUMENTS = ("source", "seed", "validation_fraction", "test_fraction", "resize", "limit", "count", "contents")
DATA_PLACES = ("root", "cache_dir")
_OF_CHECKPOINT = (CHECKPOINT_KEY, DATA_KEY, SEAL_KEY, "epoch", "global_step")


class StoredModel:
    """A model at a place, before it is loaded.

    Args:
        place: A ``.ckpt`` file, an exported folder, or a run's folder (its exported model, unless the run was resumed
            and has a later best checkpoint; else its best, else its last checkpoint); a bundled model's name, such as
            "faces"; or "hf://USER/NAME[@REVISION]" of the hub.
        in_run: What to take of a run's folder, the first that is there.
    Attributes:
        place: As given; for a folder of runs, the newest run.
        path: The checkpoint file or exported folder.
        is_own: Whether it lies where the user put it, and not in the package or the hub's cache.
    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If it cannot be fetched.
    """

    def __init__(self, place: str | Path, in_run: Sequence[str] = IN_RUN) -> None:
        folder = find_folder(place)
        self.place = place = place if folder is not None else _run_in(place, in_run)
        self.path = folder or _own_path(place, in_run)
        self.is_own = folder is None
        self._sha256: str | None = None

    def load(self, device: str | torch.device = "cpu") -> Density:
        """Return the model, of images or of vectors; from a checkpoint with averaged weights, where they were averaged.

        Raises:
            ValueError: If it is damaged, foreign, or a pickle that would run code.
        """
        device = find_device(device)
        if self.path.is_dir():
            model = load_pretrained(self.path)
            self._sha256 = read_config(self.path)["sha256"]  # which was that of the weights
        else:
            checkpoint = read_checkpoint(self.path)
            self.__dict__["_checkpoint"] = _without_tensors(checkpoint)  # which need not be read again
            model = density_of(checkpoint)
            self._sha256 = model_hash(model)
        return model.to(device)

    def load_images(self, device: str | torch.device = "cpu") -> ImageModel:
        """Return the model, which is to be one of images.

        Raises:
            ValueError: As :meth:`load`, or if it is a density of vectors.
        """
        model = self.load(device)
        if not isinstance(model, ImageModel):
            raise ValueError(
                f"{self.place} is a density of {model.things}, not of images; in Python, load_density reads it"
            )
        return model

    @property
    def hash(self) -> str:
        """The SHA-256 of architecture and weights, see :func:`~glow_app.storage.pretrained.model_hash`."""
        if self._sha256 is None:
            self.load()
        assert self._sha256 is not None
        return self._sha256

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the training: version, epoch, steps, bits/dim, data, hub."""
        if self.path.is_dir():
            return read_config(self.path).get("training", {}) | origin(self.place)
        data = _chosen(self._checkpoint, DATA_ARGUMENTS)  # without places: an exported model is for others
        return {
            "epoch": self._checkpoint.get("epoch"),
            "step": self._checkpoint.get("global_step"),
            **self._checkpoint[CHECKPOINT_KEY]["training"],
            **({"data": data} if data else {}),
        }

    @property
    def directions(self) -> list[Path]:
        """The folders of its directions of edits; new ones are written to the first."""
        if not self.is_own:  # its folder is the package's, or the hub's
            return [Path(DIRECTIONS_NAME), self.path / DIRECTIONS_NAME]
        place = Path(self.place)
        return [(place if place.is_dir() else place.parent) / DIRECTIONS_NAME]

    def data(self, trust: bool = False, given: Collection[str] = ()) -> dict[str, Any]:
        """Return which data it was trained on, as arguments of ``load_split``; empty where unknown.

        An exported model does not know where the data was; for a run's folder its checkpoint is read. Places that this
        user has not sealed (see :mod:`glow_app.storage.seal`) are left out, with a warning.

        Args:
            trust: Whether a stranger's places count too.
            given: Names of those that are given anyway, and need no warning.
        """
        stored = StoredModel(self.place, ("best.ckpt", "last.ckpt", "model"))
        if not stored.path.is_dir():
            return checkpoint_data(stored._checkpoint, stored.path, trust, given)
        data = read_config(stored.path).get("training", {}).get("data", {})
        data = {name: value for name, value in data.items() if name in DATA_ARGUMENTS}
        return _trusted(data, None, stored.path, trust, given)

    @cached_property
    def _checkpoint(self) -> dict[str, Any]:
        return _without_tensors(read_checkpoint(self.path))


def checkpoint_data(
    checkpoint: Mapping[str, Any], path: Path, trust: bool = False, given: Collection[str] = ()
) -> dict[str, Any]:
    """Return what :meth:`StoredModel.data` does, of a checkpoint that was read from ``path``."""
    data = _chosen(checkpoint, (*DATA_ARGUMENTS, *DATA_PLACES))
    return _trusted(data, checkpoint.get(SEAL_KEY), path, trust, given)


def find_device(name: str | torch.device) -> torch.device:
    """Return a device that computes here.

    Args:
        name: As of ``torch.device``; "gpu" is CUDA, or else MPS, and "auto" the CPU where there is neither.
    Raises:
        ValueError: If it is not available.
    """
    own = name
    if own in ("auto", "gpu"):
        other = "cpu" if own == "auto" else "cuda"
        own = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else other
    try:
        device = torch.device(own)
        torch.zeros(1, device=device).cpu()  # which the device meta cannot
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name} is not available here; use cpu") from error
    return device


def load_model(path: str | Path, device: str | torch.device = "cpu") -> ImageModel:
    """Return the image model at ``path``, ready for use.

    Args:
        path: A place, as of :class:`StoredModel`.
        device: Where to put it, as of :func:`find_device`.
    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If what is there is damaged, foreign, a pickle that would run code, or a density of vectors, or the
            device is not available.
    """
    return StoredModel(path).load_images(device)


def load_density(path: str | Path, device: str | torch.device = "cpu") -> Density:
    """Return the model at ``path``, of images or of vectors; otherwise as :func:`load_model`."""
    return StoredModel(path).load(device)


def _own_path(place: str | Path, in_run: Sequence[str]) -> Path:
    if str(place) == "":
        raise FileNotFoundError("the path of the checkpoint is empty; give a .ckpt file, a model's or a run's folder")
    path = Path(place)
    if not path.exists():
        raise FileNotFoundError(
            f"no checkpoint {path}; give a .ckpt file, an exported model or a run's folder{hint(path)}"
        )
    if path.is_dir() and not (path / CONFIG_NAME).exists():
        names = [name for name in in_run if (path / name).exists()]
        if names[:2] == ["model", "best.ckpt"] and _is_outdated(path / "model", path / "best.ckpt"):
            del names[0]
        if names:
            return path / names[0]
        raise FileNotFoundError(f"{path} holds neither {CONFIG_NAME} nor best.ckpt nor last.ckpt: not a model or a run")
    return path


def _is_outdated(exported: Path, best: Path) -> bool:
    """Return, with a warning, whether a run was resumed after its export and has a later best checkpoint."""
    try:
        # At the end of a run the export is the newer file: only a resumed or copied run has its checkpoint read.
        if best.stat().st_mtime_ns <= (exported / WEIGHTS_NAME).stat().st_mtime_ns:
            return False
        training = read_config(exported).get("training")
        step = training.get("step") if isinstance(training, dict) else None
        later = StoredModel(best).facts["step"]
    except (OSError, ValueError):  # what is wrong with the export shows when it is loaded
        return False
    if not (isinstance(step, int) and isinstance(later, int) and later > step):
        return False
    warnings.warn(
        f"{best} (step {later:,}) is taken: {exported} (step {step:,}) is from before the run was resumed; its "
        "recommended settings and its reference of scores are left out until the run ends and exports its model again",
        stacklevel=4,
    )
    return True


def _run_in(place: str | Path, in_run: Sequence[str]) -> str | Path:
    """Return the newest run in a folder such as runs/mine, with a warning if it has several; other places as is."""
    folder = Path(place)
    if str(place) == "" or not folder.is_dir() or any((folder / name).exists() for name in (CONFIG_NAME, *in_run)):
        return place
    for pattern in ("*", "*/*"):
        paths = [path for name in in_run for path in folder.glob(f"{pattern}/{name}")]
        if paths:
            run = max(paths, key=lambda path: path.stat().st_mtime).parent
            count = len({path.parent for path in paths})
            if count > 1:
                warnings.warn(f"{folder} contains {count} runs; the newest is taken: {run}", stacklevel=3)
            return run
    return place


def _trusted(data: dict[str, Any], seals: Any, path: Path, trust: bool, given: Collection[str]) -> dict[str, Any]:
    """Return the facts of a training's data without a stranger's places, with a warning of those that are not given."""
    if not all(isinstance(value, str | int | float | None) for value in data.values()):
        raise ValueError(f"{path} is damaged: its facts of the data are not plain values")
    for name in [] if trust else strange_places(places_of(data), seals):
        value = data.pop(name)
        if name not in given:
            warnings.warn(
                f"{path} says {str(value)[:80]!r} for the {name} of its data, and has no seal of yours: it may be a "
                "stranger's and is left out; give it yourself, or pass --trust-data",
                stacklevel=3,
            )
    return data


def _without_tensors(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    return {name: checkpoint[name] for name in _OF_CHECKPOINT if name in checkpoint}


def _chosen(checkpoint: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    arguments = checkpoint.get(DATA_KEY)
    return {name: arguments[name] for name in names if name in arguments} if isinstance(arguments, dict) else {}
