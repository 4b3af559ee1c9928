"""Lightning's words, in the tone of this project."""

import logging
import warnings

from glow_app.messages import format_warning

__all__ = ["quiet"]


def quiet() -> None:
    """Let warnings be told in this project's words, and leave out what is for developers."""
    warnings.formatwarning = format_warning  # Lightning has put its own in the place of the command's
    # What Lightning tells its own developers; users get this project's words.
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    unwanted = (
        "does not have many workers",
        "args parameter is intended",
        "exists and is not empty",
        "LeafSpec",
        "callbacks used to create the checkpoint need to be provided",
        "smaller than the logging interval",
        "could not find the monitored key",
        "broadcast_buffers",
    )
    for words in unwanted:
        warnings.filterwarnings("ignore", f".*{words}.*")
