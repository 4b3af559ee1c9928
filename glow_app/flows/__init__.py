"""Whole flows: images to whitened latents and back."""

from glow_app.flows.class_embedding import ClassEmbedding
from glow_app.flows.glow import Glow
from glow_app.flows.level import Level, Runner
from glow_app.flows.multiscale import Context, MultiscaleFlow
