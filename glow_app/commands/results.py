"""Results of a command: files that are not replaced by accident, and a folder of pictures with its record."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
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
    for folder in _numbered(output):
        paths = [folder / name for name in names]
        if overwrite or not any(path.exists() for path in paths):
            break
    _print_other(output, folder)
    refuse_existing(paths, overwrite)
    return paths


def _numbered(output: Path) -> Iterator[Path]:
    """Yield a folder, and others that are named after it: ``samples``, ``samples-2``, ``samples-3`` and so on."""
    resolved = output.resolve() if output.name in ("", "..") else output
    return chain([output], (resolved.with_name(f"{resolved.name}-{number}") for number in count(2)))


def _print_other(output: Path, folder: Path) -> None:
    """Print that another folder is written to, if it is."""
    if folder != output:
        print(printable(f"{output} already contains results; writing to {folder} (--overwrite replaces them)"))


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
    ``samples-2``. With ``overwrite``, the folder itself is taken, and the pictures that its ``run.json`` lists are
    replaced. If nothing is written, nothing is left or changed. If it is a file, as for :func:`one_picture`, only
    ``main`` is written, and no record.

    Args:
        output: Folder to write to, or file.
        overwrite: Whether to replace earlier results, and other files of the same names.
        facts: Facts for the record and the metadata of all pictures.
        record: Facts for the record alone.
        main: Name of the picture to look at first.
    Attributes:
        path: The folder that is written to.
        files: The entries of the record, one for each picture that has been written.
    """

    def __init__(
        self,
        output: Path,
        overwrite: bool,
        facts: Mapping[str, Any],
        record: Mapping[str, Any] | None = None,
        main: str = "",
    ) -> None:
        self.path, self._overwrites, self._main, self._file = output, overwrite, main, one_picture(output)
        self._facts, self._record = facts, {**(record or {}), **facts}
        self.files: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._replaced = set[Path]()
        if self._file:
            return self
        for path in _numbered(self.path):
            with suppress(FileExistsError):
                path.mkdir(parents=True, exist_ok=True)
                if not self._overwrites:  # creating the file claims the folder from other runs
                    (path / RECORD).open("x").close()
                break
        _print_other(self.path, path)
        self.path, self._replaced = path, listed_results(path)
        return self

    def place(self, name: str) -> Path:
        """Return where a picture is written."""
        return self._file or self.path / name

    def protect(self, inputs: Iterable[str | Path], names: Iterable[str]) -> None:
        """Raise an error if one of the files to write exists, or a file to replace or remove is an input."""
        outputs = [self.place(name) for name in names]
        refuse_replacing(inputs, [*outputs, *self._replaced])
        refuse_existing(outputs, self._overwrites)

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
        self.files.append({"file": name, **own, **recorded})

    def __exit__(self, *_: object) -> None:
        if self._file:
            return
        if self.files:
            write_json(self.path / RECORD, {**self._record, "files": self.files})
            for path in self._replaced - {self.path / entry["file"] for entry in self.files}:
                path.unlink(missing_ok=True)
        elif not self._overwrites:
            (self.path / RECORD).unlink()
            with suppress(OSError):  # other files are in the folder
                self.path.rmdir()


def listed_results(folder: Path) -> set[Path]:
    """Return the pictures that the record of a folder lists; none without a readable record."""
    try:
        names = [Path(entry["file"]) for entry in json.loads((folder / RECORD).read_bytes())["files"]]
        paths = {folder / name for name in names if name.suffix.lower() in FORMAT_OF and ".." not in name.parts}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return set()
    return {path for path in paths if path.is_relative_to(folder)}
