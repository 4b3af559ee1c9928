"""Kinds of runs: on images, or on images to be restored, with their classes and options."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import Callback

from lightning_modules.callbacks import EMA, NonFiniteGuard, SampleGrids, SaveProgress, StopEarly
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import ImageModule
from lightning_modules.restoration import RestorationGrids, RestorationModule

KindName = Literal["images", "restoration"]


@dataclass(frozen=True)
class Kind:
    """The classes behind ``glow fit``, and what it prints at the end of a run."""

    name: KindName
    module: type[ImageModule]
    data: type[LightningDataModule]
    callbacks: Mapping[str, type[Callback]]


# The grids come before the averaging, which restores the current weights when validation ends.
_CALLBACKS = {"guard": NonFiniteGuard, "saving": SaveProgress, "samples": SampleGrids, "ema": EMA}
_IMAGES = Kind("images", ImageModule, ImageDataModule, _CALLBACKS | {"early_stopping": StopEarly})
_RESTORATION = replace(
    _IMAGES, name="restoration", module=RestorationModule, callbacks=_CALLBACKS | {"samples": RestorationGrids}
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in (_IMAGES, _RESTORATION)}
