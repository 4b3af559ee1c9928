"""Restoration of damaged pictures by a model with a task, and how good it is."""

from glow_app.restoration.measures import CALIBRATION_DRAWS, CLASSICAL, GIVEN, INTERVALS, measure_restorations, psnr
from glow_app.restoration.restoring import Restoration, require_size, require_task, restore
