"""Export samplers as programs of torch.export, which run without this package."""

from glow_app.export.program import DESCRIPTION_NAME, PROGRAM_NAME, Sampler, load_program, save_sampler
