"""Restoration tasks: how clean pictures are damaged, and what damaged pictures determine."""

from glow_app.tasks.colourise import Colourise
from glow_app.tasks.deblock import Deblock
from glow_app.tasks.denoise import Denoise
from glow_app.tasks.fill import Fill
from glow_app.tasks.restoration_task import RestorationTask
from glow_app.tasks.upscale import Upscale
