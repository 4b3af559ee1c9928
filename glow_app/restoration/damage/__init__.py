"""Damages of single pictures: small functions on 8 bits, uint8 (H, W, C), each with a seeded generator."""

from glow_app.restoration.damage.camera import raw_at_random, raw_noise
from glow_app.restoration.damage.files import compressed, compressed_at_random
from glow_app.restoration.damage.noise import (
    correlated,
    correlated_at_random,
    film_grain,
    noisy,
    noisy_at_random,
    on_paper,
)
from glow_app.restoration.damage.pixels import damage_each, is_grey

__all__ = [
    "compressed",
    "compressed_at_random",
    "correlated",
    "correlated_at_random",
    "damage_each",
    "film_grain",
    "is_grey",
    "noisy",
    "noisy_at_random",
    "on_paper",
    "raw_at_random",
    "raw_noise",
]
