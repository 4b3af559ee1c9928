"""Restoration of damaged pictures by a model with a task, and how good it is."""

from glow_app.restoration.measures import (
    CALIBRATION_DRAWS,
    CLASSICAL,
    GIVEN,
    INTERVALS,
    Mean,
    Quality,
    RestorationFigures,
    classical_restoration,
    measure_restorations,
    psnr,
    ssim,
    true_positions,
)
from glow_app.restoration.restore import Restoration, require_size, require_task, restore
