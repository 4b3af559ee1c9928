"""`glow estimate`: what a training will need, measured on a few short steps before it starts."""

from lightning_modules.estimate.command import EstimateCLI, bytes_text, main
from lightning_modules.estimate.needs import Needs, estimate, step_memory

__all__ = ["EstimateCLI", "Needs", "bytes_text", "estimate", "main", "step_memory"]
