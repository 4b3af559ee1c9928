"""The ``config.yaml`` in a run's folder: which classes it may name when the run is resumed."""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from pydoc import locate
from typing import Any

from glow_app.storage.model_folders import ALLOWED_VARIABLE
from glow_app.storage.stored_model import RUN_CONFIG, read_run_config

_OWN = ("glow_app.", "lightning_modules.", "torch.optim.")
_LIGHTNING = (
    "pytorch_lightning.strategies.DDPStrategy",
    "pytorch_lightning.loggers.TensorBoardLogger",
)  # of the presets
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def known_run_config(run_dir: Path) -> dict[str, Any] | None:
    """Return the configuration of a run, or None if there is none.

    Raises:
        ValueError: If it is damaged, or names a class or function outside this project and ``torch.optim`` that
            ``--allow-class`` does not name.
    """
    config, allowed = read_run_config(run_dir), os.environ.get(ALLOWED_VARIABLE, "").split(",")
    for name in foreign_names(config or {}):
        if name not in allowed:
            raise ValueError(
                f"{run_dir / RUN_CONFIG} names {name!r}, which is not part of Glow; if you trust it, pass "
                f"--allow-class {name}"
            )
    return config


def foreign_names(config: Mapping[str, Any]) -> list[str]:
    """Return the classes and functions in the configuration of a run that ``--allow-class`` must name."""
    names: list[str] = []
    places = ("data", "name", "run_dir", "init_from", "init_levels_from")
    pending = [value for name, value in config.items() if name not in places]
    while pending:
        value = pending.pop()
        if isinstance(value, (dict, list)):
            pending += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str) and value not in _LIGHTNING and _may_be_code(value) and not _is_own(value):
            names.append(value)
    return names


def _may_be_code(text: str) -> bool:
    """Return whether the parser could import ``text`` or read it as a further configuration."""
    return Path(text).is_file() or (bool(_DOTTED.fullmatch(text)) and find_spec(text.partition(".")[0]) is not None)


def _is_own(name: str) -> bool:
    part = locate(name) if name.startswith(_OWN) else None
    return isinstance(part, type) and f"{part.__module__}.".startswith(_OWN)
