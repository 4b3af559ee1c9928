"""The base class of image and plane models."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from glow_app.nn import DataDependentAffine


class Density(nn.Module, ABC):
    """A module whose ``forward`` returns each example's negative log-likelihood, in ``unit``: the training loss."""

    unit: ClassVar[str]
    things: ClassVar[str]  # plural noun for the examples, in messages

    @abstractmethod
    def forward(self, *examples: Any) -> Tensor:
        """Return the negative log-likelihood of each example, (B,)."""

    @abstractmethod
    def initialize(self, *examples: Any) -> None:
        """Set data-dependent parameters from a batch; does nothing in an initialised model."""

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # Checked before anything changes; inverses and bits/dim would silently be wrong.
        if (dtype := fn(torch.empty(0)).dtype).itemsize < 4:
            raise ValueError(f"a model cannot have weights of {dtype}; use autocast, which leaves the states float32")
        return super()._apply(fn, recurse)

    @property
    @abstractmethod
    def config(self) -> dict[str, object]:
        """Everything needed to rebuild the model without its weights, as plain types."""

    @property
    def facts(self) -> dict[str, object]:
        """Facts about the data, as plain types; not part of the model's hash."""
        return {}

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def initialized(self) -> bool:
        """Whether all data-dependent parameters are initialised."""
        return all(bool(part.initialized) for part in self.modules() if isinstance(part, DataDependentAffine))
