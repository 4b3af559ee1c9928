"""The contract of a conditioner: the network inside a bijection."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from glow_app.nn.class_path import config_without_arguments


class Conditioner(nn.Module, ABC):
    r"""A network from one part of the data to the parameters of a bijection on the other part.

    It is never inverted, so any network will do. Its output is zero at initialisation, so that the bijection starts
    close to the identity.

    Shape:
        x: (B, in_channels, H, W); context: (B, E), (B, E, H, W) or None; output: (B, out_channels, H, W).
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for ``x``."""

    @abstractmethod
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialise data-dependent parameters from the batch ``x`` and return ``forward(x, context)``."""

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments beyond the widths, as plain types; a conditioner that has any must override it."""
        return config_without_arguments(self, num_passed=4)
