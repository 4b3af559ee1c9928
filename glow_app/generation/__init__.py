"""What a model is used for: small functions on an ``ImageModel``."""

from glow_app.generation.blend import blend, interpolate, mix_levels
from glow_app.generation.latents import Latents, load_latents, save_latents
from glow_app.generation.reconstruct import Reconstruction, reconstruct
from glow_app.generation.sample import sample_batches, sweep, walk

__all__ = [
    "Latents",
    "Reconstruction",
    "blend",
    "interpolate",
    "load_latents",
    "mix_levels",
    "reconstruct",
    "sample_batches",
    "save_latents",
    "sweep",
    "walk",
]
