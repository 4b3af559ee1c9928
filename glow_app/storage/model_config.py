"""Build models from plain configurations, which may name only the classes of an allow-list."""

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch

from glow_app.bijections import Coupling
from glow_app.conditioning import AttributeConditioning, ClassConditioning
from glow_app.flows import Glow, WaveletFlow
from glow_app.flows.steps import COUPLINGS
from glow_app.generation.loaded_model import LoadedModel
from glow_app.models import ImageModel
from glow_app.nn import ConvConditioner
from glow_app.nn.class_path import class_path
from glow_app.priors import CNFPrior, GaussianPrior, IAFPrior, MAFPrior, PlanarPrior
from glow_app.restoration import Clean, Colourise, Fill, PictureConditioning, Upscale
from glow_app.storage.model_folders import ALLOWED_VARIABLE

# The classes that a file may name. Others could run code of the file's choice.
_FLOWS: dict[str, type[Glow | WaveletFlow]] = {class_path(flow): flow for flow in (Glow, WaveletFlow)}
_CONDITIONINGS = (AttributeConditioning, ClassConditioning, PictureConditioning)
_PRIORS = (CNFPrior, GaussianPrior, IAFPrior, MAFPrior, PlanarPrior)
_TASKS = (Clean, Colourise, Fill, Upscale)
ALLOWED_CLASSES: dict[str, Callable[..., Any]] = {
    class_path(part): part for part in (ConvConditioner, *_CONDITIONINGS, *_PRIORS, *_TASKS)
}


def allow_class(part: type) -> None:
    """Let files of models name a class of your own, as ``--allow-class PATH`` does.

    Its ``config`` gives the arguments with which a conditioner, conditioning, prior, step or task is built; a coupling
    needs none.
    """
    ALLOWED_CLASSES[class_path(part)] = part


def allow_parts(model: ImageModel) -> None:
    """Allow the classes of the parts of a model, which are in use already."""
    modules = list(model.modules())
    for part in (*modules, *(part for module in modules for part in getattr(module, "parts", ()))):
        is_own = not type(part).__module__.startswith("glow_app.")
        if is_own and (hasattr(part, "config") or isinstance(part, Coupling)):
            allow_class(type(part))


def allow_named_classes() -> Mapping[str, Callable[..., Any]]:
    """Import and allow the classes of ``--allow-class``, once each; return all that are allowed, by their paths."""
    for path in filter(None, os.environ.get(ALLOWED_VARIABLE, "").split(",")):
        if path in ALLOWED_CLASSES:
            continue
        module, _, name = path.rpartition(".")
        try:
            part = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"--allow-class {path}: {error}; expected a class of an installed package, or of a module in PYTHONPATH"
            ) from error
        ALLOWED_CLASSES[path] = part  # which may differ from the path in the model: a package may re-export it
        allow_class(part)
    return ALLOWED_CLASSES


def build_model(
    config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Rebuild a model from its ``config`` and its weights.

    Args:
        weights: The model's state dict; its tensors are not copied.
        facts: Facts that include the model's own.
    Raises:
        ValueError: If the configuration does not describe a model, names a class outside the allow-list or does not
            match the weights, or a weight is not finite.
    """
    allow_named_classes()
    try:
        limit = sum(tensor.numel() > 0 for tensor in weights.values())  # empty tensors cost nothing
        # On the meta device, so that a configuration cannot allocate memory beyond that of its weights.
        with torch.device("meta"):
            model = _image_model(config, limit)
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


def _image_model(config: Mapping[str, Any], limit: int) -> LoadedModel:
    flow = dict(config["flow"])
    flow_class = _FLOWS[flow.pop("class_path", class_path(Glow))]
    levels, steps = flow["num_levels"], flow["num_steps"]
    _require_parts(limit, levels)
    _require_parts(limit, *([sum(steps)] if isinstance(steps, list) else [levels, steps]))
    for name in ("detail_steps", "detail_blocks"):
        _require_parts(limit, *([sum(flow[name])] if isinstance(flow.get(name), list) else [flow.get(name, 1)]))
    if flow.get("coupling", "affine") not in COUPLINGS:
        flow["coupling"] = _allowed(flow["coupling"])
    for part in ("prior", "step" if "step" in flow else "conditioner"):
        flow[part] = _factory(flow[part], limit)
    if "conditioning" in flow:
        flow["conditioning"] = _factory(flow["conditioning"], limit)()
    return LoadedModel(flow_class(**flow), config["num_bits"])


def _require_parts(limit: int, *counts: int) -> None:
    """Reject a model of more parts, the product of ``counts``, than weights: building it could take too long."""
    if math.prod(max(count, 1) for count in counts) > limit:
        raise ValueError(
            f"the weights do not match the model configuration: it has more parts than the {limit} weights"
        )


def _allowed(name: str) -> Callable[..., Any]:
    if name not in ALLOWED_CLASSES:
        raise ValueError(
            f"the model names the class {name!r}, which is not one of this project; if you wrote it, pass "
            f"--allow-class {name}, or call glow_app.allow_class in Python"
        )
    return ALLOWED_CLASSES[name]


def _factory(spec: Mapping[str, Any], limit: int) -> Callable[..., Any]:
    part, arguments = _allowed(spec["class_path"]), spec["init_args"]
    _require_parts(limit, *(arguments.get(count, 1) for count in ("num_layers", "num_blocks")))
    parts = {
        key: _factory(value, limit)()
        for key, value in arguments.items()
        if isinstance(value, dict) and "class_path" in value
    }
    return partial(part, **(arguments | parts))
