"""The output folder of `glow sample`: names of files, earlier results, and the record of the run."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glow_app.commands.common import RECORD, free_folder, read_record
from glow_app.files import atomic_file

OURS = re.compile(r"(seed\d+_t[\d.-]+(_g[\d.]+)?\.png|grid\.png|sweep\.png)")


@dataclass(frozen=True)
class SampleFolder:
    """A folder for the images of a range of seeds, with memory independent of their number."""

    path: Path
    seeds: range
    ending: str  # end of the pictures' names, after the seed
    pictures: Sequence[str]  # names of the other pictures
    replaced: tuple[int, int] | None = None  # inode and time of the record to overwrite

    def name(self, seed: int) -> str:
        """Return the file name for a seed."""
        return f"seed{seed:06d}{self.ending}"

    def free(self, overwrite: bool) -> "SampleFolder":
        """Return this folder if it has no samples or ``overwrite`` is set, else the next free one."""
        if overwrite or not self._has_samples():
            return replace(self, replaced=self._record())
        return replace(self, path=free_folder(self.path))

    def _has_samples(self) -> bool:
        files = self.path.iterdir() if self.path.is_dir() else ()
        return any(file.name == RECORD or self._is_written(file.name) or OURS.fullmatch(file.name) for file in files)

    def interrupted(self, num_drawn: int, pictures: Sequence[str]) -> "SampleFolder":
        """Return the folder restricted to the images and other pictures written before an interruption."""
        return replace(self, seeds=self.seeds[:num_drawn], pictures=pictures)

    def finish(self, facts: Mapping[str, Any], facts_of: Callable[[int], Mapping[str, Any]]) -> None:
        """Remove the files listed in the overwritten record, and write a record with facts of the run and each seed.

        Files of another run that has finished in the meantime are kept.
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
        match = re.fullmatch(rf"seed(\d+){re.escape(self.ending)}", name)
        return match is not None and int(match[1]) in self.seeds

    def _listed(self) -> list[str]:
        """Return the files in the folder's record, which is untrusted: only names that runs use."""
        record = read_record(self.path)
        try:
            names = [*(entry["file"] for entry in record["files"]), *record["pictures"]]
        except (KeyError, TypeError):
            return []
        return [name for name in names if isinstance(name, str) and OURS.fullmatch(name)]
