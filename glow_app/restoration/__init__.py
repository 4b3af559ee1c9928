"""Restoration of damaged pictures: tasks, the conditioning on a damaged picture, draws, and how good they are."""

from glow_app.restoration.clean import Clean
from glow_app.restoration.colourise import Colourise
from glow_app.restoration.context_difference import ContextDifference
from glow_app.restoration.encoder import ConditionEncoder
from glow_app.restoration.enlarging import Enlarge
from glow_app.restoration.fill import Fill
from glow_app.restoration.measures import (
    CALIBRATION_DRAWS,
    INTERVALS,
    measure_restorations,
    psnr,
    restoration_record,
    restoration_verdict,
)
from glow_app.restoration.picture_conditioning import PictureConditioning, picture_conditioning_of, task_of
from glow_app.restoration.restoration_task import RestorationTask
from glow_app.restoration.restoring import Restoration, require_size, require_task, restore, restore_damaged
from glow_app.restoration.successive import note_on_results, restore_successively
from glow_app.restoration.upscale import Upscale
