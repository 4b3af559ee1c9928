"""Random numbers that depend on names and counters, never on what ran before.

A run that was stopped and resumed draws the same noise as one that was not, since every draw is a pure
function of ``(stream, seed, step, rank)``.
"""

import hashlib

import torch

__all__ = ["image_generator", "step_generator"]


def step_generator(seed: int, step: int, rank: int, device: torch.device | str, stream: str) -> torch.Generator:
    """Return the generator of one training or evaluation step.

    Args:
        seed: The run's seed.
        step: Any counter: the global step in training, the batch index in evaluation.
        rank: Process rank, so that ranks draw different noise.
        device: Where the generator draws.
        stream: What the numbers are for; two streams never share numbers.
    """
    digest = hashlib.sha256(f"{stream}/{seed}/{step}/{rank}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def image_generator(seed: int) -> torch.Generator:
    """Return the CPU generator of one image; on the CPU always, so that a seed means the same on every device."""
    return torch.Generator("cpu").manual_seed(seed)
