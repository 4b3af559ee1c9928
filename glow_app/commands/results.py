"""Results of a command: files that are not replaced by accident, and a folder of pictures with its record."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from glow_app.files import FORMAT_OF, atomic_file, require_folder
from glow_app.messages import UsageError, printable

if TYPE_CHECKING:
    from PIL import Image

RECORD = "run.json"


def one_picture(output: Path, count: int = 1) -> Path | None:
    """Return ``--output`` if it is a file, for the only picture of a command; None if it is a folder.

    Raises:
        UsageError: If it is a file, and there are several pictures.
    """
    if output.suffix.lower() not in (*FORMAT_OF, ".gif"):
        return None
    if count > 1:
        raise UsageError(f"{output} is a file for one picture, and there are {count}; choose a folder as --output")
    return output


def refuse_existing(paths: Sequence[Path], overwrite: bool, instead: str = "another --output") -> None:
    """Raise FileExistsError if an output file exists, unless ``overwrite``, or a file blocks its folder."""
    for folder in {path.parent for path in paths}:
        require_folder(folder)
    existing = next((path for path in paths if path.exists()), None)
    if existing and not overwrite:
        raise FileExistsError(f"{existing} exists already; choose {instead} or pass --overwrite")


def free_paths(output: Path, names: Sequence[str], overwrite: bool) -> list[Path]:
    """Return where results are written: in the folder ``output``, or to ``output`` itself if it is a file for one.

    If a result exists in the folder, another is taken, such as ``score-2``, unless ``overwrite``.

    Raises:
        FileExistsError: If the file exists.
    """
    if file := one_picture(output, len(names)):
        refuse_existing([file], overwrite)
        return [file]
    folder, first = output, output.resolve() if output.name in ("", "..") else output
    for number in count(2):
        paths = [folder / name for name in names]
        if overwrite or not any(path.exists() for path in paths):
            break
        folder = first.with_name(f"{first.name}-{number}")
    if folder != output:
        print(printable(f"{output} already contains results; writing to {folder} (--overwrite replaces them)"))
    refuse_existing(paths, overwrite)
    return paths


def refuse_replacing(inputs: Iterable[str | Path], outputs: Sequence[Path]) -> None:
    """Raise UsageError if an output file is also an input, even with ``--overwrite``."""
    resolved = {Path(file).resolve() for file in inputs}
    for output in outputs:
        if output.resolve() in resolved:
            raise UsageError(f"{output} is an input and would be replaced by a result; choose another --output")


def print_row(name: str, *cells: str) -> None:
    """Print a row of a table, with 24 characters for the name and 23 for each cell."""
    print(f"{name:<24} " + "".join(f"{cell:<23} " for cell in cells).rstrip())


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record of plain types as JSON, with null for non-finite numbers, which JSON cannot represent."""
    finite = json.loads(json.dumps(record), parse_constant=lambda _: None)
    with atomic_file(path) as file:
        file.write((json.dumps(finite, indent=1) + "\n").encode())


class ResultsFolder:
    """A folder that a run fills with pictures; at the end, also after an interruption, ``run.json`` lists them.

    Used as a context manager. If the folder has a ``run.json`` already, the next free name is taken, such as
    ``samples-2``, unless ``overwrite``. If it is a file, as for :func:`one_picture`, only ``main`` is written, and no
    record.

    Args:
        output: Folder to write to, or file.
        overwrite: Whether to replace files of the same names.
        facts: Facts for the record and the metadata of all pictures.
        record: Facts for the record alone.
        main: Name of the picture to look at first.
    """

    def __init__(
        self,
        output: Path,
        overwrite: bool,
        facts: Mapping[str, Any],
        record: Mapping[str, Any] | None = None,
        main: str = "",
    ) -> None:
        self._overwrites, self._main, self._file = overwrite, main, one_picture(output)
        self.path = output if self._file else free_paths(output, [RECORD], overwrite)[0].parent
        self._facts, self._record = facts, {**(record or {}), **facts}
        self._files: list[dict[str, Any]] = []

    def place(self, name: str) -> Path:
        """Return where a picture is written."""
        return self._file or self.path / name

    def save(
        self,
        image: "Image.Image",
        name: str,
        facts: Mapping[str, Any],
        write: "Callable[[Image.Image, Path, Mapping[str, Any]], None] | None" = None,
        **recorded: Any,
    ) -> None:
        """Write a picture, with ``facts`` in metadata and record, and ``recorded`` in the record alone.

        ``write`` writes the file, given picture, path and metadata; without it, the file is a PNG.
        """
        from glow_app.pictures.images import save_picture

        if self._file and name != self._main:
            return
        path = self.place(name)
        refuse_existing([path], self._overwrites)
        (write or save_picture)(image, path, {**facts, **self._facts, **facts})  # its own facts come first
        own = {key: value for key, value in facts.items() if self._facts.get(key) != value}
        self._files.append({"file": name, **own, **recorded})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._files and not self._file:
            write_json(self.path / RECORD, {**self._record, "files": self._files})
