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
        # Without memory: a lying configuration cannot ask for more than its weights hold.
        with torch.device("meta"):
            model = ImageModel(Glow(**flow), num_bits=config["num_bits"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the model configuration is damaged or of another version ({error})") from error
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[1 if "\n" in str(error) else 0].strip()
        raise ValueError(f"the weights do not fit the model configuration: {reason[:200]}") from error
    # Taking tensors over also takes their memory format.
    return model.to(memory_format=torch.channels_last).requires_grad_(True)  # type: ignore[call-overload]


def _factory(spec: Mapping[str, Any]) -> Callable[..., Any]:
    name = spec["class_path"]
    if name not in ALLOWED_CLASSES:
        raise ValueError(f"the model names the class {name!r}; only {', '.join(sorted(ALLOWED_CLASSES))} are allowed")
    return partial(ALLOWED_CLASSES[name], **spec["init_args"])
