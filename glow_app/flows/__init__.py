"""Whole flows: images to whitened latents and back."""

from glow_app.flows.glow import Glow
from glow_app.flows.level import Level, Runner
from glow_app.flows.multiscale import MultiscaleFlow
from glow_app.flows.wavelet_flow import WaveletFlow
