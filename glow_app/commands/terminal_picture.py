"""A small picture in the terminal, where it shows pictures."""

import base64
import os
import sys
from pathlib import Path

_SIDE, _CHUNK = 256, 4096  # pixels, and the most characters that kitty takes at a time


def show_picture(place: str | Path) -> None:
    """Print a PNG, or four samples of a model that draws, in kitty and iTerm2; nothing elsewhere."""
    is_kitty = os.environ.get("TERM") == "xterm-kitty"
    if not sys.stdout.isatty() or not (is_kitty or os.environ.get("TERM_PROGRAM") == "iTerm.app"):
        return
    from PIL import Image

    from glow_app.generation.loaded_model import LoadedModel
    from glow_app.pictures.encoding import png_bytes
    from glow_app.restoration import task_of
    from glow_app.storage.stored_model import StoredModel

    if Path(place).suffix.lower() == ".png":
        picture: Image.Image = Image.open(place)
    else:
        model = StoredModel(place).load()
        if not isinstance(model, LoadedModel) or task_of(model):
            return
        picture = model.sample(4, seeds=0).grid()
    picture.thumbnail((_SIDE, _SIDE))
    content = base64.b64encode(png_bytes(picture)).decode()
    print(_for_kitty(content) if is_kitty else f"\033]1337;File=inline=1:{content}\a")


def _for_kitty(content: str) -> str:
    """Return the escape codes of a PNG in parts, of which the first has the settings."""
    parts = [content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)]
    settings = ["a=T,f=100,m=1"] + ["m=1"] * (len(parts) - 1) + ["m=0"]
    return "".join(f"\033_G{each};{part}\033\\" for each, part in zip(settings, [*parts, ""], strict=True))
