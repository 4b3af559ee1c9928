"""Build models from plain configurations, which may name only what is registered."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from glow_app.flows import MultiscaleFlow
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.restoration import PictureConditioning  # noqa: F401  # registers what a model may be made of
from glow_app.spec import build

# Arguments of parts that multiply the number of modules.
_COUNTS = (("num_levels", "num_steps"), ("detail_steps",), ("detail_blocks",), ("num_layers", "num_blocks"))


def build_model(
    config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Rebuild a model from its ``config`` and its weights.

    Args:
        weights: The model's state dict; its tensors are not copied.
        facts: Facts that include the model's own.
    Raises:
        ValueError: If the configuration does not describe a model, names what is not registered or does not match the
            weights, or a weight is not finite.
    """
    try:
        limit = sum(tensor.numel() > 0 for tensor in weights.values())  # empty tensors cost nothing
        # On the meta device, so that a configuration cannot allocate memory beyond that of its weights.
        with torch.device("meta"):
            _require_parts(config["flow"], limit)
            model = LoadedModel(build(config["flow"], MultiscaleFlow, "flow"), config["num_bits"])
        model.vocabulary.load_facts(facts or {})
    except (KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(f"the model configuration is damaged or of another version ({reason})") from error
    for name, tensor in weights.items():
        # isfinite() of every element would take four times as long.
        if tensor.is_floating_point() and not tensor.sum(dtype=torch.float64).isfinite():
            raise ValueError(f"a weight in {name} is not finite; use another checkpoint, or export the model again")
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:200]
        raise ValueError(f"the weights do not match the model configuration: {reason}") from error
    # assign=True also takes over the memory format of the tensors.
    return model.to(memory_format=torch.channels_last).requires_grad_(True)  # type: ignore[call-overload]


def _require_parts(spec: Mapping[str, Any], limit: int) -> None:
    """Reject a model of more parts than weights: building it could take too long."""
    for names in _COUNTS:
        counts = [spec.get(name, 1) for name in names]
        if isinstance(counts[-1], list):
            counts = [sum(counts[-1])]
        if math.prod(max(count, 1) for count in counts) > limit:
            raise ValueError(
                f"the weights do not match the model configuration: it has more parts than the {limit} weights"
            )
    for value in spec.values():
        if isinstance(value, Mapping):
            _require_parts(value, limit)
