"""The ``config.json`` of an exported model."""

import json
from pathlib import Path
from typing import Any

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT = "glow-app/1"


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the ``config.json`` of an exported model.

    Raises:
        FileNotFoundError: If the folder has none.
        ValueError: If it is damaged or of another project.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG_NAME}: not an exported model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); export the model again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or "model" not in config:
        raise ValueError(f"{path} does not describe a model of format {FORMAT}; export the model again")
    return config
