"""Find and load models by path, name or address."""

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from glow_app.files import HUB
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.storage.checkpoint import data_facts, facts_of, model_of, read_checkpoint
from glow_app.storage.model_config import build_model
from glow_app.storage.model_folders import (
    CONFIG_NAME,
    DIRECTIONS_NAME,
    RUN_MODELS,
    WEIGHTS_NAME,
    find_folder,
    is_hub_name,
    origin,
    read_config,
    refuse_missing,
)

GENERATION_KEY = "generation"  # in the configuration of an exported model: recommended settings for sampling
DATA_FOLDERS = ("root", "cache_dir", "attributes")  # arguments of the data module that only ``config.yaml`` records


class StoredModel:
    """A model that was located but not loaded.

    Args:
        place: A ``.ckpt`` file, an exported folder, a run's folder, a folder of runs, the name of a bundled model, such
            as "faces", or "hf://USER/NAME[@REVISION]" on the hub. A run's folder stands for its exported model, unless
            the run was resumed and has a later best checkpoint; otherwise for its best or else its last checkpoint.
    Attributes:
        place: The argument; for a folder of runs, the newest run.
        path: The checkpoint file or exported folder.
        is_own: Whether the model is at a path of the user, not in the package or the hub's cache.
    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If the model cannot be fetched.
    """

    def __init__(self, place: str | Path) -> None:
        folder = find_folder(place)
        self.place = place = place if folder is not None else newest_run(Path(place))
        self.path = folder or _own_path(Path(place))
        self.is_own = folder is None

    def load(self, device: str | torch.device = "cpu") -> LoadedModel:
        """Return the model, of a checkpoint with averaged weights if it has any; raise ValueError if it is damaged."""
        device = find_device(device)
        if self.path.is_dir():
            return _read_exported(self.path).to(device)
        checkpoint = read_checkpoint(self.path)
        self.facts = facts_of(checkpoint)  # saves reading it again
        model = model_of(checkpoint)
        self.hash = model.hash
        return model.to(device)

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of architecture and weights, see :func:`~glow_app.models.module_state.model_hash`."""
        return read_config(self.path)["sha256"] if self.path.is_dir() else self.load().hash

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts of the training, such as version, epoch, steps, bits/dim and data; and the revision on the hub."""
        if self.path.is_dir():
            return read_config(self.path).get("training", {}) | origin(self.place)
        return facts_of(read_checkpoint(self.path))

    @property
    def directions(self) -> list[Path]:
        """The folders of the model's directions for edits; new directions are written to the first."""
        if not self.is_own:  # new directions must not be written into the package or the hub's cache
            return [Path(DIRECTIONS_NAME), self.path / DIRECTIONS_NAME]
        place = Path(self.place)
        return [(place if place.is_dir() else place.parent) / DIRECTIONS_NAME]

    def data(self) -> dict[str, Any]:
        """Return the data of the training as arguments of ``load_split``; empty if unknown.

        Folders, and the address of a data set, come only from ``config.yaml`` beside the model, because the model may
        be another person's.

        Raises:
            ValueError: If the facts or ``config.yaml`` are damaged.
        """
        from glow_app.storage.run_config import read_run_config  # needs PyYAML, which `glow serve` does not

        data = data_facts(self.facts.get("data", {}))
        if not all(isinstance(value, str | int | float | None) for value in data.values()):
            raise ValueError(f"{self.path} is damaged: its facts of the data are not plain values")
        configured = (read_run_config(self.path.parent) or {}).get("data", {})
        if configured.get("source") == data.get("source"):
            return data | {name: configured[name] for name in DATA_FOLDERS if configured.get(name) is not None}
        return {} if "://" in str(data.get("source")) else data


def find_device(name: str | torch.device) -> torch.device:
    """Return an available device.

    Args:
        name: As for ``torch.device``; or "gpu", which is CUDA or else MPS; or "auto", which is "gpu" or else the CPU.
    Raises:
        ValueError: If the device is not available.
    """
    resolved = name
    if name in ("auto", "gpu"):
        fallback = "cpu" if name == "auto" else "cuda"
        resolved = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else fallback
    try:
        device = torch.device(resolved)
        torch.zeros(1, device=device).cpu()  # fails on the meta device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name} is not available here; use cpu") from error
    return device


def load_model(path: str | Path, device: str | torch.device = "cpu") -> LoadedModel:
    """Return the image model at ``path``, any place of :class:`StoredModel`, ready for use.

    Args:
        path, device: As for :class:`StoredModel` and :func:`find_device`.
    Raises:
        FileNotFoundError: If there is no model at ``path``.
        ValueError: If the model is damaged, or of another project, or the device is not available.
    """
    return StoredModel(path).load(device)


def from_pretrained(name: str | Path, device: str | torch.device = "cpu") -> LoadedModel:
    """Return the image model ``name``, as :func:`load_model`, for which one on the hub is also ``"USER/NAME"``."""
    return load_model(f"{HUB}{name}" if is_hub_name(str(name)) and not Path(name).exists() else name, device)


def _read_exported(folder: Path) -> LoadedModel:
    """Read an exported model; nothing in its files can run code."""
    config = read_config(folder)
    path = folder / WEIGHTS_NAME
    try:
        weights = load(path.read_bytes())  # not mapped: overwriting the file would change or crash this process
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that torch does not have
        raise ValueError(f"{path} is damaged ({error}); export the model again") from error
    for name, tensor in weights.items():
        if tensor.dtype == torch.float16:
            weights[name] = tensor.float()
    model = build_model(config["model"], weights, config.get("training")).eval()
    if model.hash != config.get("sha256"):
        raise ValueError(f"the weights in {path} are not those that {CONFIG_NAME} describes; export the model again")
    if GENERATION_KEY in config:
        try:
            model.generation = GenerationSettings.from_plain(config[GENERATION_KEY])
        except ValueError as error:
            raise ValueError(
                f"{GENERATION_KEY} in {folder / CONFIG_NAME} is damaged ({error}); repair or remove it"
            ) from error
    return model


def _own_path(path: Path) -> Path:
    refuse_missing(path)
    if not path.is_dir() or (path / CONFIG_NAME).exists():
        return path
    names = [name for name in RUN_MODELS if (path / name).exists()]
    if not names:
        raise FileNotFoundError(f"{path} is neither a model nor a run: it has no {CONFIG_NAME}, best.ckpt or last.ckpt")
    is_outdated = names[:2] == ["model", "best.ckpt"] and _is_outdated(path / "model", path / "best.ckpt")
    return path / names[is_outdated]


def _is_outdated(exported: Path, best: Path) -> bool:
    """Return whether a run was resumed after its export and has a later best checkpoint; warn if so."""
    try:
        # At the end of a run the export is newer, so the checkpoint is read only if the run was resumed or copied.
        if best.stat().st_mtime_ns <= (exported / WEIGHTS_NAME).stat().st_mtime_ns:
            return False
        step, later = read_config(exported)["training"]["step"], StoredModel(best).facts["step"]
        if not later > step:
            return False
    except (OSError, ValueError, KeyError, TypeError):  # loading the export reports what is wrong
        return False
    warnings.warn(
        f"using {best} (step {later:,}), because {exported} (step {step:,}) was exported before the run was resumed; "
        "its recommended settings and reference of scores are ignored until the run exports it again",
        stacklevel=4,
    )
    return True


def newest_run(folder: Path) -> Path:
    """Return the newest run in a folder of runs, with a warning if there are several; other paths unchanged."""
    if any((folder / name).exists() for name in (CONFIG_NAME, *RUN_MODELS)):
        return folder
    for pattern in ("*", "*/*"):
        models = [path for name in RUN_MODELS for path in folder.glob(f"{pattern}/{name}")]
        if models:
            run = max(models, key=lambda path: path.stat().st_mtime).parent
            if (count := len({path.parent for path in models})) > 1:
                warnings.warn(f"{folder} contains {count} runs; using the newest: {run}", stacklevel=3)
            return run
    return folder
