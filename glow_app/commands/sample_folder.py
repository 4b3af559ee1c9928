"""The folder that `glow sample` writes: its names, what is in their way, and the record of the run."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glow_app.commands.common import RECORD, free_folder, read_record
from glow_app.files import atomic_file

OURS = re.compile(r"(seed\d+_t[\d.-]+(_g[\d.]+)?\.png|grid\.png|sweep\.png|walk\.gif)")


@dataclass(frozen=True)
class SampleFolder:
    """A folder for the images of some seeds; never holds what grows with their number."""

    path: Path
    seeds: range
    ending: str  # of the pictures' names, after the seed
    pictures: Sequence[str]  # names of the other pictures
    replaced: tuple[int, int] | None = None  # the file and the time of the record that lay there with --overwrite

    def name(self, seed: int) -> str:
        """Return the name of the picture of a seed."""
        return f"seed{seed:06d}{self.ending}"

    def free(self, overwrite: bool) -> "SampleFolder":
        """Return this folder if it holds no samples or ``overwrite`` is set, and otherwise the next free one."""
        if overwrite or not self._has_samples():
            return replace(self, replaced=self._record())
        return replace(self, path=free_folder(self.path))

    def _has_samples(self) -> bool:
        files = self.path.iterdir() if self.path.is_dir() else ()
        return any(file.name == RECORD or self._is_written(file.name) or OURS.fullmatch(file.name) for file in files)

    def interrupted(self, num_drawn: int, pictures: Sequence[str]) -> "SampleFolder":
        """Return the folder as it is after so many images and some of the other pictures."""
        return replace(self, seeds=self.seeds[:num_drawn], pictures=pictures)

    def finish(self, facts: Mapping[str, Any], facts_of: Callable[[int], Mapping[str, Any]]) -> None:
        """Remove the files that the previous run's record lists, and write this run's facts and those of each seed.

        Those of a run that has ended meanwhile stay.
        """
        for name in self._listed() if self.replaced and self.replaced == self._record() else ():
            if not self._is_written(name):
                (self.path / name).unlink(missing_ok=True)
        head = json.dumps({**facts, "pictures": list(self.pictures)}, indent=2).removesuffix("\n}")
        with atomic_file(self.path / RECORD) as file:
            file.write(f'{head},\n  "files": ['.encode())
            for number, seed in enumerate(self.seeds):
                line = json.dumps({"file": self.name(seed), "seed": seed, **facts_of(seed)})
                file.write(f"{',' if number else ''}\n    {line}".encode())
            file.write(b"\n  ]\n}\n")

    def _record(self) -> tuple[int, int] | None:
        try:
            status = (self.path / RECORD).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _is_written(self, name: str) -> bool:
        if name in self.pictures:
            return True
        found = re.fullmatch(rf"seed(\d+){re.escape(self.ending)}", name)
        return found is not None and int(found[1]) in self.seeds

    def _listed(self) -> list[str]:
        """Return the files of the record that lies here, but for names that no run gives: it may be anybody's."""
        record = read_record(self.path)
        try:
            names = [*(one["file"] for one in record["files"]), *record["pictures"]]
        except (KeyError, TypeError):
            return []
        return [name for name in names if isinstance(name, str) and OURS.fullmatch(name)]
