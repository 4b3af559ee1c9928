"""A folder of pictures, with the record of the run that wrote them."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from glow_app.commands.common import refuse_existing, refuse_replacing, write_json
from glow_app.messages import printable

if TYPE_CHECKING:
    from PIL import Image

RECORD = "run.json"


class ResultsFolder:
    """A context in which a run writes pictures; at its end, also after an interruption, ``run.json`` lists them.

    A folder with a ``run.json`` is left alone: the results go to the next free name, such as ``samples-2``. With
    ``overwrite`` they take the place of those that it lists. If nothing is written, nothing is left or changed.

    Args:
        output: Folder to write to.
        overwrite: Whether to replace earlier results, and other files of the same names.
        facts: Facts for the record and the text of all pictures.
        record: Facts for the record alone.
    Attributes:
        path: The folder that is written to.
        files: The entries of the record, one for each picture that has been written.
    """

    def __init__(
        self, output: Path, overwrite: bool, facts: Mapping[str, Any], record: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self._overwrites = output, overwrite
        self._facts, self._record = facts, {**(record or {}), **facts}
        self.files: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        output = self.path.resolve() if self.path.name in ("", "..") else self.path
        for path in chain([self.path], (output.with_name(f"{output.name}-{number}") for number in count(2))):
            with suppress(FileExistsError):
                path.mkdir(parents=True, exist_ok=True)
                if not self._overwrites:  # creating the file claims the folder from other runs
                    (path / RECORD).open("x").close()
                break
        if path != self.path:
            print(printable(f"{self.path} holds results already; these go to {path} (--overwrite replaces)"))
        self.path, self._replaced = path, listed_results(path)
        return self

    def protect(self, inputs: Iterable[str | Path], names: Iterable[str]) -> None:
        """Refuse to go on if one of the files to write exists, or a file to replace or remove is an input."""
        outputs = [self.path / name for name in names]
        refuse_replacing(inputs, [*outputs, *self._replaced])
        refuse_existing(outputs, self._overwrites)

    def save(self, image: "Image.Image", name: str, facts: Mapping[str, Any], **recorded: Any) -> None:
        """Write a picture as PNG, with ``facts`` in its text and the record, and ``recorded`` in the record alone."""
        from glow_app.pictures.images import save_png

        path = self.path / name
        refuse_existing([path], self._overwrites)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(image, path, {**facts, **self._facts, **facts})  # its own facts come first
        own = {key: value for key, value in facts.items() if self._facts.get(key) != value}
        self.files.append({"file": name, **own, **recorded})

    def __exit__(self, *_: object) -> None:
        if self.files:
            write_json(self.path / RECORD, {**self._record, "files": self.files})
            for path in self._replaced - {self.path / entry["file"] for entry in self.files}:
                path.unlink(missing_ok=True)
        elif not self._overwrites:
            (self.path / RECORD).unlink()
            with suppress(OSError):  # other files are in the folder
                self.path.rmdir()


def listed_results(folder: Path) -> set[Path]:
    """Return the PNGs that the record of a folder lists; none without a readable record."""
    try:
        names = [entry["file"] for entry in json.loads((folder / RECORD).read_bytes())["files"]]
        paths = {folder / name for name in names if name.endswith(".png") and ".." not in Path(name).parts}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return set()
    return {path for path in paths if path.is_relative_to(folder)}
