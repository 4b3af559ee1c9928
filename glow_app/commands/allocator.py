"""How the C library's allocator, which is asked for every tensor on a CPU, deals with memory."""

import os
import sys

# Pages of 2 MB where the system has them (from glibc 2.35 on), and memory that is freed is kept, up to 2 GB, in one
# place for all threads: what is allocated next would else pay for every page anew.
TUNABLES = {"hugetlb": 1, "mmap_threshold": 2**30 - 1, "trim_threshold": 2**31 - 1, "arena_max": 1}


def begin_with_huge_pages() -> None:
    """Restart this program, once, with an allocator that suits large tensors.

    Cuts CPU sampling time by up to half; training steps gain on some CPUs only. Results stay the same. GNU's allocator
    reads its settings only at the start of a process. Does nothing where the C library is another one, or where the
    environment has settings of its own.
    """
    is_set = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if is_set or "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return
    tunables = ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "GLIBC_TUNABLES": tunables})
