"""Settings of the C library's allocator, which allocates all CPU tensors."""

import os
import sys

# Huge pages of 2 MB where available (glibc 2.35 or newer); and a single arena for all threads that keeps up to 2 GB of
# freed memory, because returning it would make the next allocation fault in every page again.
TUNABLES = {"hugetlb": 1, "mmap_threshold": 2**30 - 1, "trim_threshold": 2**31 - 1, "arena_max": 1}


def begin_with_huge_pages() -> None:
    """Restart this program once with allocator settings for large tensors.

    Cuts CPU sampling time by up to half; training steps gain on some CPUs only. Results stay the same. The restart is
    needed because glibc reads these settings only at the start of a process. Does nothing with other C libraries, or if
    the environment has its own settings.
    """
    is_set = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if is_set or "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return
    tunables = ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "GLIBC_TUNABLES": tunables})
