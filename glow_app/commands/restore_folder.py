"""The output folder of `glow restore`, and detection of earlier results."""

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
_LONGEST_NAME = 255  # maximum length of a file name on Linux and macOS, bytes
_RESULT = re.compile(r"(.+)_(?:seed\d+|mean|spread|comparison)\.png", re.DOTALL)


class RestoreFolder:
    """Creates and claims a folder for results: ``--output``, or the next free name if that holds results already.

    Args:
        arguments: Arguments of ``glow restore``.
        named: Picture files by the names of their results.
        facts: Facts of the model for the record.
    Attributes:
        path: The folder.
    Raises:
        FileExistsError: If an output file exists, without ``--overwrite``, or the folder has another command's results.
        UsageError: If a result would replace an input picture.
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
            except FileExistsError:  # claimed by another run just now, or to be overwritten
                if not self._overwrites:
                    continue
            break
        if self.path != Path(arguments.output):
            place = f"{arguments.output} holds results already; these go to {self.path} (--overwrite replaces)"
            print(printable(place))
        record = read_record(self.path, _LARGEST_RECORD)
        entries = {entry["name"]: entry for entry in _entries(record)}
        self._facts, self._replaced = facts, frozenset(entries)
        self._entries = entries if facts.items() <= record.items() else {}  # drop results of another model
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
        """Record a restored picture, and remove other draws of it from a run that is overwritten."""
        others = {str(file.relative_to(self.path)) for file in (self.path / name).parent.glob("*_seed*.png")}
        for file in others - set(outputs) if name in self._replaced else ():
            if _name_of_result(file) == name:
                (self.path / file).unlink()
        self._entries[name] = entry
        self._write()

    def _write(self) -> None:
        write_json(self.path / RECORD, {**self._facts, "files": list(self._entries.values())})

    def close(self) -> None:
        """Remove the record and an empty folder if nothing was written."""
        if not self._entries and not self._replaced and not any(output.exists() for output in self._outputs):
            (self.path / RECORD).unlink(missing_ok=True)
            with suppress(OSError):  # the folder is not empty
                self.path.rmdir()


def is_short_enough(file: str) -> bool:
    """Return whether the name of a file is within the limit of file systems."""
    return len(os.fsencode(Path(file).name)) <= _LONGEST_NAME


def outputs_of(name: str, arguments: argparse.Namespace) -> list[str]:
    """Return the names of the output files for a picture."""
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    return [f"{name}_{kind}.png" for kind in (*(f"seed{seed}" for seed in seeds), "mean", "spread", "comparison")]


def names_of_results(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the picture files by the names of their results: their paths within the folder, without suffix.

    Suffixes are kept where names would clash. Earlier results in a folder and the mask are left out.

    Raises:
        UsageError: If two pictures still have the same name, or no picture is left.
    """
    paths = [(file, Path(file).relative_to(place)) for place in arguments.images for file in _files(place, arguments)]
    paths = [(file, path if path.name else Path(Path(file).name)) for file, path in paths]
    occurrences = Counter(str(path.with_suffix("")) for _, path in paths)
    named: dict[str, str] = {}
    for file, path in paths:
        name = str(path.with_suffix(""))
        name = name if occurrences[name] == 1 and name not in named else str(path)
        if name in named:
            if Path(file).resolve() == Path(named[name]).resolve():
                raise UsageError(f"{file} is given twice; give it once")
            raise UsageError(f"two pictures are called {name}; restore them into different folders with --output")
        named[name] = file
    if not named:
        raise UsageError(f"{', '.join(arguments.images)}: only results of earlier runs; name a folder of pictures")
    return named


def _files(place: str, arguments: argparse.Namespace) -> list[str]:
    """Return a file, or the files of a folder without earlier results and the mask."""
    files, folder = picture_files([place]), Path(place)
    if not folder.is_dir():
        return files
    subfolders = {parent for file in files for parent in Path(file).parents if folder in parent.parents}
    results = sorted(path for path in subfolders if (path / RECORD).exists())
    for path in results:
        print(printable(f"left out: {path}, which holds results ({RECORD}); name it to restore them"))
    is_replaced = arguments.overwrite and folder.resolve() == Path(arguments.output).resolve()
    restored = {entry["name"] for entry in _entries(read_record(folder, _LARGEST_RECORD))}
    if (folder / RECORD).exists():  # also results of a picture whose restoration was interrupted
        restored |= {str(Path(file).relative_to(folder).with_suffix("")) for file in files}
    mask = None if arguments.mask is None else Path(arguments.mask).resolve()
    files = [
        file
        for file in files
        if not any(Path(file).is_relative_to(path) for path in results)
        and (mask is None or Path(file).resolve() != mask)
    ]
    others = [file for file in files if _name_of_result(str(Path(file).relative_to(folder))) not in restored]
    if not others and not is_replaced:
        return files  # a folder with only results was named on purpose, to restore them
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
