"""The folder of restored pictures, and which of its files are results."""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from glow_app.commands.common import (
    RECORD,
    free_folder,
    picture_files,
    read_record,
    refuse_existing,
    refuse_replacing,
    write_json,
)
from glow_app.messages import UsageError, pluralise, printable

_LARGEST_RECORD = 1 << 26
_LONGEST_NAME = 255  # bytes, of a file, where Linux and macOS keep it
_RESULT = re.compile(r"(.+)_(?:seed\d+|mean|spread|comparison)\.png", re.DOTALL)


class RestoreFolder:
    """The folder for the results, made and marked as taken: ``--output``, or the next free one where results are.

    Args:
        arguments: Of ``glow restore``.
        named: The picture files by what their results are called.
        facts: What the record says of the model.
    Attributes:
        path: The folder.
    Raises:
        FileExistsError: If a file to be written exists, without ``--overwrite``, or if another command's results do.
        UsageError: If a picture that is to be restored would be replaced.
    """

    def __init__(self, arguments: argparse.Namespace, named: dict[str, str], facts: dict[str, Any]) -> None:
        self.path, self._overwrites = Path(arguments.output), arguments.overwrite
        while True:
            if os.path.lexists(self.path / RECORD) and not self._overwrites:
                self.path = free_folder(Path(arguments.output))
            self._refuse(arguments, named)
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                (self.path / RECORD).open("x").close()
            except FileExistsError:  # of another run, a moment ago, unless it is to be replaced
                if not self._overwrites:
                    continue
            break
        if self.path != Path(arguments.output):
            place = f"{arguments.output} holds results already; these go to {self.path} (--overwrite replaces)"
            print(printable(place))
        record = read_record(self.path, _LARGEST_RECORD)
        listed = {entry["name"]: entry for entry in _entries(record)}
        self._facts, self._replaced = facts, frozenset(listed)
        self._entries = listed if facts.items() <= record.items() else {}  # of another model
        if not self._overwrites:
            self._write()

    def _refuse(self, arguments: argparse.Namespace, named: dict[str, str]) -> None:
        names = [file for name in named for file in outputs_of(name, arguments)]
        self._outputs = outputs = [self.path / file for file in names if is_short_enough(file)]
        refuse_replacing([*named.values(), *filter(None, [arguments.mask])], outputs)
        refuse_existing(outputs, self._overwrites)
        if read_record(self.path, _LARGEST_RECORD).keys() - {"model", "version", "files"}:
            raise FileExistsError(f"{self.path} holds results of another command; choose another --output")

    def add(self, name: str, entry: dict[str, Any], outputs: Iterable[str]) -> None:
        """List a picture whose results are written, and remove other draws of it, of a run that is overwritten."""
        others = {str(file.relative_to(self.path)) for file in (self.path / name).parent.glob("*_seed*.png")}
        for file in others - set(outputs) if name in self._replaced else ():
            if _name_of_result(file) == name:
                (self.path / file).unlink()
        self._entries[name] = entry
        self._write()

    def _write(self) -> None:
        write_json(self.path / RECORD, {**self._facts, "files": list(self._entries.values())})

    def close(self) -> None:
        """Leave nothing if nothing was written."""
        if not self._entries and not self._replaced and not any(output.exists() for output in self._outputs):
            (self.path / RECORD).unlink(missing_ok=True)
            with suppress(OSError):  # it holds something else
                self.path.rmdir()


def is_short_enough(file: str) -> bool:
    """Return whether the name of a file is no longer than names may be."""
    return len(os.fsencode(Path(file).name)) <= _LONGEST_NAME


def outputs_of(name: str, arguments: argparse.Namespace) -> list[str]:
    """Return the names of the files that are written for a picture."""
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    return [f"{name}_{kind}.png" for kind in (*(f"seed{seed}" for seed in seeds), "mean", "spread", "comparison")]


def names_of_results(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the picture files by what their results are called: their paths in a folder, without the suffix.

    Where two would be called the same, their suffixes are kept. Results, and the mask, in a folder are left out.

    Raises:
        UsageError: If two pictures would have one name all the same, or none is left.
    """
    paths = [(file, Path(file).relative_to(place)) for place in arguments.images for file in _files(place, arguments)]
    paths = [(file, path if path.name else Path(Path(file).name)) for file, path in paths]
    times = Counter(str(path.with_suffix("")) for _, path in paths)
    named: dict[str, str] = {}
    for file, path in paths:
        name = str(path.with_suffix(""))
        name = name if times[name] == 1 and name not in named else str(path)
        if name in named:
            if Path(file).resolve() == Path(named[name]).resolve():
                raise UsageError(f"{file} is given twice; give it once")
            raise UsageError(f"two pictures are called {name}; restore them into different folders with --output")
        named[name] = file
    if not named:
        raise UsageError(f"{', '.join(arguments.images)}: only results of earlier runs; name a folder of pictures")
    return named


def _files(place: str, arguments: argparse.Namespace) -> list[str]:
    """Return a file, or those of a folder but for results and the mask."""
    files, folder = picture_files([place]), Path(place)
    if not folder.is_dir():
        return files
    inside = {parent for file in files for parent in Path(file).parents if folder in parent.parents}
    results = sorted(path for path in inside if (path / RECORD).exists())
    for path in results:
        print(printable(f"left out: {path}, which holds results ({RECORD}); name it to restore them"))
    is_replaced = arguments.overwrite and folder.resolve() == Path(arguments.output).resolve()
    own = {entry["name"] for entry in _entries(read_record(folder, _LARGEST_RECORD))}
    if (folder / RECORD).exists():  # and results of a picture that was interrupted
        own |= {str(Path(file).relative_to(folder).with_suffix("")) for file in files}
    mask = None if arguments.mask is None else Path(arguments.mask).resolve()
    files = [
        file
        for file in files
        if not any(Path(file).is_relative_to(path) for path in results)
        and (mask is None or Path(file).resolve() != mask)
    ]
    others = [file for file in files if _name_of_result(str(Path(file).relative_to(folder))) not in own]
    if not others and not is_replaced:
        return files  # a folder of nothing but results is named to restore them
    if others != files:
        count = pluralise(len(files) - len(others), "result")
        print(printable(f"left out: {count} in {folder} ({RECORD}); name the files to restore them"))
    return others


def _name_of_result(file: str) -> str | None:
    match = _RESULT.fullmatch(file)
    return match and match[1]


def _entries(record: dict[str, Any]) -> list[dict[str, Any]]:
    files = record.get("files")
    entries = [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
    return [entry for entry in entries if isinstance(entry.get("name"), str)]
