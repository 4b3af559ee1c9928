"""What the learned priors share: a Gaussian before them, and flattening."""

import math
from collections.abc import Sequence

from glow_app.bijections import Bijection, Chain, Reshape
from glow_app.priors.gaussian import GaussianPrior

__all__ = ["HeadPrior", "LatentShape", "require_layers"]

LatentShape = tuple[int, int, int]


class HeadPrior(Chain):
    r"""A Gaussian, then a head that sees what is left: :math:`f = f_\text{head} \circ f_\text{Gauss}`.

    It starts as the Gaussian does, since heads begin as the identity or close to it, and then learns what is left:
    switching a head on never hurts the start of training.

    Args:
        latent_shape: (C, H, W) of the last latent.
        context_features: Size :math:`E` of the context; 0 for none.
        head: Bijections on vectors (B, C*H*W), or on the latent as it is.
        config: The arguments of the subclass beyond these.
        on_vectors: Which of the two.
    Shape:
        x, z: (B, C, H, W); context: (B, E) or None; log_det: (B,), nats.
    """

    def __init__(
        self,
        latent_shape: LatentShape,
        context_features: int,
        head: Sequence[Bijection],
        config: dict[str, object],
        on_vectors: bool = True,
    ) -> None:
        vector = (math.prod(latent_shape),)
        if on_vectors:
            head = [Reshape(latent_shape, vector), *head, Reshape(vector, latent_shape)]
        super().__init__(GaussianPrior(latent_shape, context_features), *head)
        self._config = config

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments beyond what Glow passes, as plain types."""
        return dict(self._config)


def require_layers(num_layers: int) -> None:
    """Refuse a head without layers.

    Raises:
        ValueError: If ``num_layers`` is below 1.
    """
    if num_layers < 1:
        raise ValueError(f"num_layers is {num_layers}; expected at least 1")
