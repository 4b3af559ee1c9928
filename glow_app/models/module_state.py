"""What image models and models of points share: properties of their weights."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

from glow_app.nn import DataDependentAffine


def weights_dtype(model: nn.Module) -> torch.dtype:
    """The floating-point type of the weights."""
    return next(model.parameters()).dtype


def weights_device(model: nn.Module) -> torch.device:
    """The device of the weights."""
    return next(model.parameters()).device


def is_initialized(model: nn.Module) -> bool:
    """Whether all data-dependent parameters are initialised."""
    return all(bool(part.initialized) for part in model.modules() if isinstance(part, DataDependentAffine))


def model_hash(model: nn.Module) -> str:
    """Return the SHA-256 of architecture and weights: equal for a checkpoint and its export."""
    digest = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def require_wide_weights(convert: Any) -> None:
    """Raise ValueError if ``convert``, of ``nn.Module._apply``, makes weights narrower than float32.

    Inverses and bits/dim would silently be wrong.
    """
    if (dtype := convert(torch.empty(0)).dtype).itemsize < 4:
        raise ValueError(f"a model cannot have weights of {dtype}; use autocast, which leaves the states float32")
