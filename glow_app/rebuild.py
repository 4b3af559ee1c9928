"""Models from plain configurations, naming classes of an allow-list only."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from glow_app.flows import Glow
from glow_app.model import ImageModel
from glow_app.nn import ConvConditioner, GatedResidualConditioner
from glow_app.priors import GaussianPrior

__all__ = ["ALLOWED_CLASSES", "build_model"]

# What a file may name. Anything else could run code of the file's choosing.
ALLOWED_CLASSES: dict[str, Callable[..., Any]] = {
    "glow_app.nn.ConvConditioner": ConvConditioner,
    "glow_app.nn.GatedResidualConditioner": GatedResidualConditioner,
    "glow_app.priors.GaussianPrior": GaussianPrior,
}


def build_model(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> ImageModel:
    """Rebuild a model from :attr:`ImageModel.config <glow_app.model.ImageModel.config>` and its weights.

    Args:
        config: Plain types.
        weights: The model's state dict, whose tensors are taken over without a copy.

    Raises:
        ValueError: If the configuration names a class outside the allow-list, does not describe a model, or does not
            fit the weights.
    """
    try:
        flow = dict(config["flow"])
        for part in ("conditioner", "prior"):
            flow[part] = _factory(flow[part])
        _require_parts(config, limit=len(weights))
        # Without memory: a lying configuration cannot ask for more than its weights hold.
        with torch.device("meta"):
            model = ImageModel(Glow(**flow), num_bits=config["num_bits"])
    except (KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(f"the model configuration is damaged or of another version ({reason})") from error
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(
            f"the weights do not fit the model configuration: {lines[min(1, len(lines) - 1)][:200]}"
        ) from error
    # Taking tensors over also takes their memory format.
    return model.to(memory_format=torch.channels_last).requires_grad_(True)  # type: ignore[call-overload]


def _require_parts(config: Mapping[str, Any], limit: int) -> None:
    """Refuse more steps or blocks than there are weights, before building them would take for ever."""
    flow = config["flow"]
    steps = flow["num_steps"] if isinstance(flow["num_steps"], list) else [flow["num_steps"]]
    blocks = flow["conditioner"]["init_args"].get("num_blocks", 1)
    if max(sum(steps), blocks, flow["num_levels"]) > limit:
        raise ValueError(f"the weights do not fit the model configuration: only {limit} of them for so many parts")


def _factory(spec: Mapping[str, Any]) -> Callable[..., Any]:
    name = spec["class_path"]
    if name not in ALLOWED_CLASSES:
        raise ValueError(f"the model names the class {name!r}; only {', '.join(sorted(ALLOWED_CLASSES))} are allowed")
    return partial(ALLOWED_CLASSES[name], **spec["init_args"])
