import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="not glibc")

SETTING = "GLIBC_TUNABLES"
PROGRAM = """
import os, resource, sys
from glow_app.commands.allocator import begin_with_huge_pages
print("begins", flush=True)
if sys.argv[1] == "huge":
    begin_with_huge_pages()
import torch
def step():
    held = [torch.ones(2**23) for _ in range(4)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(sys.argv[2:], os.environ.get("GLIBC_TUNABLES"), faults, sep="|")
"""


def run(*arguments: str, **settings: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name != SETTING and not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env={**kept, **settings}, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_program_begins_anew_once_and_pays_for_its_memory_once() -> None:
    *begins, last = run("huge", "--count", "a b")
    assert begins == ["begins", "begins"]
    arguments, tunables, faults = last.split("|")
    assert arguments == "['--count', 'a b']"
    assert "glibc.malloc.hugetlb=1" in tunables
    _, _, plain = run("plain")[-1].split("|")
    assert int(plain) >= 4 * int(faults)


@pytest.mark.parametrize("name", [SETTING, "MALLOC_ARENA_MAX"])
def test_the_environment_has_the_last_word(name: str) -> None:
    begins, last = run("huge", **{name: "1"})
    assert begins == "begins"
    assert last.split("|")[1] == ("1" if name == SETTING else "None")
