"""Rendered faces as a folder of pictures with a table of their attributes."""

import csv
import re
from pathlib import Path

from PIL import Image

from glow_app.data.faces.face import REAL_NAMES, YES_NO_NAMES, draw_face
from glow_app.data.faces.rendered import face_chunks, face_name
from glow_app.files import atomic_folder

__all__ = ["TABLE_NAME", "write_faces"]

TABLE_NAME = "attributes.csv"
_HEADER = ["file", *YES_NO_NAMES, *REAL_NAMES]


def write_faces(folder: Path, seed: int, count: int, side: int, overwrite: bool = False) -> None:
    """Write faces as PNGs, and ``attributes.csv`` with a line for each, as :func:`read_attributes` takes it.

    Args:
        folder: Where to.
        seed: Seed of the set.
        count: How many faces.
        side: Height and width in pixels.
        overwrite: Replace a folder that this function wrote.
    Raises:
        FileExistsError: If the folder exists, unless ``overwrite`` and nothing else is in it.
        ValueError: If a package is missing.
    """
    present = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    names = {TABLE_NAME, *(name for name in present if re.fullmatch(r"\d{6,}\.png", name))}
    with atomic_folder(folder, names, _is_ours, overwrite) as beside:
        index = 0
        for chunk in face_chunks(seed, 0, count, side):
            for image in chunk:
                Image.fromarray(image.transpose(1, 2, 0)).save(beside / face_name(index))
                index += 1
        with (beside / TABLE_NAME).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_HEADER)
            writer.writerows(_line(seed, index) for index in range(count))


def _line(seed: int, index: int) -> list[str]:
    values = draw_face(seed, index).attributes()
    return [
        face_name(index),
        *(f"{values[name]:g}" if name in YES_NO_NAMES else f"{values[name]:.4f}" for name in values),
    ]


def _is_ours(folder: Path) -> bool:
    table = folder / TABLE_NAME
    return table.is_file() and table.read_text("utf-8", errors="replace").startswith(",".join(_HEADER))
