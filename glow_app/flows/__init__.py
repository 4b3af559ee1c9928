"""Whole flows: images to whitened latents and back."""

from glow_app.flows.glow import Glow
from glow_app.flows.multiscale import Level, MultiscaleFlow, Runner
from glow_app.flows.wavelet_flow import WaveletFlow
