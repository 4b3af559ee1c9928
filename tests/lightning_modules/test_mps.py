"""Apple's GPUs have no float64: no such tensor is created on the model's device."""

from pathlib import Path
from typing import Any

import pytest
import torch
from registry import random_images
from tiny_training import tiny_fit
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from glow_app.bijections import InvertibleConv1x1
from glow_app.conditioning import ClassConditioning
from glow_app.flows import Glow
from glow_app.nn import precision
from glow_app.pipeline.blend import along_arc
from lightning_modules import image_module
from lightning_modules.callbacks import EMA, NonFiniteGuard
from lightning_modules.image_module import ImageModule


class NoFloat64(TorchDispatchMode):
    """Raises TypeError at an operation that returns float64, as on MPS."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(result)):
            raise TypeError(f"{func} returned float64")
        return result


def test_a_model_is_trained_and_scored_without_float64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (precision, image_module):
        monkeypatch.setattr(module, "widest_dtype", lambda _: torch.float32)
    # A whitening and the inverse of a 1x1 convolution use float64 on the CPU, wherever the model is.
    inverse_affine = InvertibleConv1x1.inverse_affine

    def on_the_cpu(mixing: InvertibleConv1x1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with _disable_current_modes():
            return inverse_affine(mixing)

    monkeypatch.setattr(InvertibleConv1x1, "inverse_affine", on_the_cpu)
    flow = Glow((1, 8, 8), 2, 1, 8, conditioning=ClassConditioning(10), init="rotation")
    trained = ImageModule(flow, num_bits=4, seed=5)
    with NoFloat64():
        trainer = tiny_fit(tmp_path, [EMA(), NonFiniteGuard()], trained)
        assert trainer.callback_metrics["val/bpd"].isfinite()
        assert trained.model.eval().bits_per_dim(random_images(2, (1, 8, 8))).isfinite().all()
        assert along_arc(torch.randn(2, 4), torch.tensor([0.5])).isfinite().all()
