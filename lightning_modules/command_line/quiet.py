"""Suppression of Lightning's messages and of warnings that only concern developers."""

import logging
import warnings

from glow_app.messages import format_warning

# Warnings of Lightning for developers.
UNWANTED = (
    "does not have many workers",
    "args parameter is intended",
    "exists and is not empty",
    "LeafSpec",
    "callbacks used to create the checkpoint need to be provided",
    "smaller than the logging interval",
    "could not find the monitored key",
    "broadcast_buffers",
    "sync_dist=True",
)


def quiet() -> None:
    """Format warnings as this project does, and suppress those for developers."""
    warnings.formatwarning = format_warning  # Lightning has replaced it
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for phrase in UNWANTED:
        warnings.filterwarnings("ignore", f".*{phrase}.*")
