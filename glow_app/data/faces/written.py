"""Rendered faces as a folder of images with a table of attributes."""

import csv
import re
from pathlib import Path

from glow_app.data.faces.face import REAL_NAMES, YES_NO_NAMES, draw_face
from glow_app.data.faces.rendered import face_chunks
from glow_app.data.resizing import array_to_image
from glow_app.files import atomic_folder

TABLE_NAME = "attributes.csv"
_HEADER = ["file", *YES_NO_NAMES, *REAL_NAMES]


def write_faces(folder: Path, seed: int, count: int, side: int, overwrite: bool = False) -> None:
    """Write square faces as PNGs, and their attributes as ``attributes.csv``, readable by :func:`read_attributes`.

    Raises:
        FileExistsError: If the folder exists, unless ``overwrite`` is set and it contains only files of this function.
        ValueError: If a package is missing.
    """
    present = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    names = {TABLE_NAME, *(name for name in present if re.fullmatch(r"\d{6,}\.png", name))}
    with atomic_folder(folder, names, _is_ours, overwrite) as building:
        written: list[str] = []
        for chunk in face_chunks(seed, count, side):
            for name, image in zip(chunk.names, chunk.images, strict=True):
                array_to_image(image).save(building / name)
            written += chunk.names
        with (building / TABLE_NAME).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_HEADER)
            writer.writerows([name, *_values(seed, index)] for index, name in enumerate(written))


def _values(seed: int, index: int) -> list[str]:
    values = draw_face(seed, index).attributes().items()
    return [f"{value:g}" if name in YES_NO_NAMES else f"{value:.4f}" for name, value in values]


def _is_ours(folder: Path) -> bool:
    table = folder / TABLE_NAME
    return table.is_file() and table.read_text("utf-8", errors="replace").startswith(",".join(_HEADER))
