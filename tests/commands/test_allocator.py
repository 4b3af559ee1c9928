import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from glow_app.commands.allocator import begin_with_huge_pages
print("begins", flush=True)
begin_with_huge_pages()
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), sep="|")
"""


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="not glibc")
@pytest.mark.parametrize("settings", [{}, {"GLIBC_TUNABLES": "1"}])
def test_a_program_begins_anew_once_unless_the_environment_has_settings(settings: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC_TUNABLES", "MALLOC_"))}
    command = [sys.executable, "-c", PROGRAM, "--count", "a b"]
    done = subprocess.run(command, env={**kept, **settings}, capture_output=True, text=True, check=True)
    *begins, last = done.stdout.splitlines()
    assert begins == ["begins"] * (1 if settings else 2)
    arguments, tunables = last.split("|")
    assert arguments == "['--count', 'a b']"
    assert settings or "glibc.malloc.hugetlb=1" in tunables
