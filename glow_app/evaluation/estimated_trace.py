"""What is to be said beside a figure that is an estimate."""

from glow_app.bijections import ContinuousFlow
from glow_app.models.base import Density

__all__ = ["estimated_trace_note"]


def estimated_trace_note(model: Density, num_dims: int) -> str:
    """Return the words for a figure that is an estimate, since the trace of a continuous prior is; else none.

    Args:
        model: The evaluated model.
        num_dims: Values that its prior whitens.
    """
    model.eval()  # as it was evaluated: in training the trace is estimated sooner
    flows = (part for part in model.modules() if isinstance(part, ContinuousFlow))
    return ", trace of the prior estimated" if any(flow.estimates(num_dims) for flow in flows) else ""
