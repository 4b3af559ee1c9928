"""The contract of a bijection, and its two compositions."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from glow_app.nn import DataDependentAffine


class Bijection(nn.Module, ABC):
    r"""An invertible map from data to latent, with its log-determinant.

    .. math:: \log p(x) = \log \mathcal N(f(x); 0, I) + \log\left|\det \frac{\partial f}{\partial x}\right|

    To add one: write ``forward`` and ``inverse`` as pure functions (no input or state changes), return
    the log-determinant *of the direction that ran* as ``(B,)`` in nats, summed over all dimensions, in the dtype of
    the input and never narrower than float32, whatever the autocast state. Then add it to ``tests/registry.py``, which
    runs every property test on it.

    Shape:
        x, z: (B, ...), the same number of values in both; context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent; return ``(z, log_det)``."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data; return ``(x, log_det)``, the log-determinant of this direction."""

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the latent of ``x``, as ``forward`` does; override it where the log-determinant is costly."""
        return self.forward(x, context)[0]

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the data of ``z``, as ``inverse`` does; override it where the log-determinant is costly."""
        return self.inverse(z, context)[0]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Initialise data-dependent parameters from the batch ``x``, once, and return ``forward(x, context)``.

        The default has nothing to initialise.
        """
        return self.forward(x, context)


class Chain(Bijection):
    r"""Composition: :math:`f = f_n \circ \ldots \circ f_1`; the log-determinants add.

    Args:
        bijections: In the order of the data-to-latent direction; at least one.
    Shape:
        As the bijections.
    """

    def __init__(self, *bijections: Bijection) -> None:
        super().__init__()
        if not bijections:
            raise ValueError("a chain needs at least one bijection")
        self.bijections = nn.ModuleList(bijections)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last."""
        log_det = x.new_zeros(x.shape[0])
        for bijection in self.bijections:
            x, term = bijection(x, context)
            log_det = log_det + term
        return x, log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the inverses last to first."""
        log_det = z.new_zeros(z.shape[0])
        for bijection in reversed(self.bijections):
            assert isinstance(bijection, Bijection)
            z, term = bijection.inverse(z, context)
            log_det = log_det + term
        return z, log_det

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Encode by the bijections, first to last."""
        for bijection in self.bijections:
            assert isinstance(bijection, Bijection)
            x = bijection.encode(x, context)
        return x

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Decode by the bijections, last to first."""
        for bijection in reversed(self.bijections):
            assert isinstance(bijection, Bijection)
            z = bijection.decode(z, context)
        return z

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Initialise the bijections first to last, each on the output of those before it."""
        log_det = x.new_zeros(x.shape[0])
        for bijection in self.bijections:
            assert isinstance(bijection, Bijection)
            x, term = bijection.initialize(x, context)
            log_det = log_det + term
        return x, log_det


class Inverse(Bijection):
    r"""The same bijection run the other way: :math:`f = g^{-1}`.

    Args:
        bijection: The bijection :math:`g`.
    Shape:
        As the bijection.
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the inverse of the wrapped bijection."""
        return self.bijection.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the wrapped bijection."""
        return self.bijection(z, context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Decode by the wrapped bijection."""
        return self.bijection.decode(x, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Encode by the wrapped bijection."""
        return self.bijection.encode(z, context)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pass ``x``, this bijection's input, to the wrapped one's ``initialize``, whose own input is not known yet.

        Conditioners are initialised well by it. An actnorm is not: it normalises what it maps ``x`` to, so that its
        inverse, which is evaluated here, multiplies ``x`` by its standard deviation. Initialise such a bijection
        before, on values like those of its own input.
        """
        parts = (part for part in self.bijection.modules() if isinstance(part, DataDependentAffine))
        if not all(part.initialized for part in parts):
            self.bijection.initialize(x, context)
        return self.forward(x, context)
