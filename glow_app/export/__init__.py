"""Export samplers as programs that run without this package: torch.export and ONNX."""

from glow_app.export.onnx_program import require_onnx
from glow_app.export.parity import Parity, compare
from glow_app.export.sampler import Sampler
from glow_app.export.write import DESCRIPTION_NAME, SAMPLER_FORMATS, save_sampler

__all__ = ["DESCRIPTION_NAME", "SAMPLER_FORMATS", "Parity", "Sampler", "compare", "require_onnx", "save_sampler"]
