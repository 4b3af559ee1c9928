"""Sampling, blending, editing and scoring with an ``ImageModel``."""

from glow_app.generation.blend import blend, interpolate, mix_levels
from glow_app.generation.directions import Direction, load_direction, load_directions, save_direction
from glow_app.generation.editing import edit, edit_attributes, learn_directions
from glow_app.generation.inference import drawn_with, infer, read_known
from glow_app.generation.reconstruction import Reconstruction, reconstruct
from glow_app.generation.reference import FEW_ORDINARY, MANY_ORDINARY, USUAL_PERCENT, Reference, Verdict, score_rows
from glow_app.generation.sampling import sample_batches
from glow_app.generation.scoring import Measures, measure
from glow_app.generation.tensor_file import Latents, latents_bytes, load_latents, save_latents
