"""A decoder that never returns, in a file that the process of the decoder imports quickly."""

import threading
from pathlib import Path
from typing import Any


def stall(begun: str, *_: Any) -> None:
    """Create the file ``begun``, then wait forever."""
    Path(begun).touch()
    threading.Event().wait()
