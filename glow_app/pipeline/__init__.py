"""Sampling, blending, editing and scoring with an ``ImageModel``."""

from glow_app.pipeline.blend import blend, interpolate, mix_levels
from glow_app.pipeline.directions import Direction, load_direction, load_directions, save_direction
from glow_app.pipeline.editing import edit, edit_attributes, learn_directions
from glow_app.pipeline.inference import drawn_with, infer, read_known
from glow_app.pipeline.reconstruction import Reconstruction, reconstruct
from glow_app.pipeline.reference import FEW_ORDINARY, MANY_ORDINARY, USUAL_PERCENT, Reference, Verdict, score_rows
from glow_app.pipeline.sampling import sample_batches
from glow_app.pipeline.scoring import Measures, measure
from glow_app.pipeline.tensor_file import Latents, latents_bytes, load_latents, save_latents
