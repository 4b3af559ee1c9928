"""What a model is used for: small functions on an ``ImageModel``."""

from glow_app.generation.interpolate import interpolate
from glow_app.generation.reconstruct import Reconstruction, reconstruct
from glow_app.generation.sample import sample_batches

__all__ = ["Reconstruction", "interpolate", "reconstruct", "sample_batches"]
