"""What the processor can do."""

from pathlib import Path

__all__ = ["has_bfloat16"]

CPUINFO = Path("/proc/cpuinfo")
# As the kernel names them on x86, and on Arm.
BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}


def has_bfloat16() -> bool | None:
    """Return whether this processor has instructions for bfloat16; None where the system does not say."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), None)
    return None if flags is None else not BFLOAT16.isdisjoint(flags.split())
