"""Kinds of runs: on images, on images to be restored, or on points in the plane, with their classes and options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import Callback

from lightning_modules.callbacks import EMA, NonFiniteGuard, SampleGrids, SaveProgress, StopEarly
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import ImageModule
from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.points import PointsDataModule, PointsModule, finish_points
from lightning_modules.restoration import RestorationGrids, RestorationModule

KindName = Literal["images", "restoration", "points"]


@dataclass(frozen=True)
class Kind:
    """The classes behind ``glow fit``, and what it prints at the end of a run."""

    name: KindName
    module: type[LikelihoodModule]
    data: type[LightningDataModule]
    callbacks: Mapping[str, type[Callback]]
    finish: Callable[[Path, Any], None] | None = None


# The grids come before the averaging, which restores the current weights when validation ends.
_CALLBACKS = {"guard": NonFiniteGuard, "saving": SaveProgress, "samples": SampleGrids, "ema": EMA}
_IMAGES = Kind("images", ImageModule, ImageDataModule, _CALLBACKS | {"early_stopping": StopEarly})
_RESTORATION = replace(
    _IMAGES, name="restoration", module=RestorationModule, callbacks=_CALLBACKS | {"samples": RestorationGrids}
)
_POINT_CALLBACKS = {"guard": NonFiniteGuard, "saving": SaveProgress, "ema": EMA}
_POINTS = Kind("points", PointsModule, PointsDataModule, _POINT_CALLBACKS, finish_points)
KINDS: dict[str, Kind] = {kind.name: kind for kind in (_IMAGES, _RESTORATION, _POINTS)}
