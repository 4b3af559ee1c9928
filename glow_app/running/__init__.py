"""Runners, which evaluate a level in less time or memory, and folding, which precomputes constants for inference."""

from glow_app.running.folded import decode_in_parts, fold
from glow_app.running.select import Memory, choose_runners
