"""A continuous prior."""

import math
from typing import Any

from glow_app.bijections import ContinuousFlow
from glow_app.nn import MLPVelocity
from glow_app.priors.head_prior import HeadPrior, LatentShape
from glow_app.spec import register


@register("cnf")
class CNFPrior(HeadPrior):
    r"""A Gaussian and a :class:`~glow_app.bijections.ContinuousFlow` on the flattened latent: a solve per direction.

    Args:
        latent_shape: (C, H, W) of the last latent; or (D,), of vectors.
        context_features: Size :math:`E` of the context; 0 for none.
        hidden_features: Width of the velocity network, an :class:`~glow_app.nn.MLPVelocity`.
        num_layers: Its hidden layers.
        num_frequencies: Its Fourier features per value, for densities with sharp edges.
        **options: As for :class:`~glow_app.bijections.ContinuousFlow`: how it is solved, and its penalties.
    Shape:
        x, z: (B, C, H, W) or (B, D); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    Raises:
        ValueError: If an argument is invalid.
        SolverError: In a solve, if it fails.
    References:
        FFJORD, Grathwohl et al. 2019, arXiv:1810.01367; RNODE, Finlay et al. 2020, arXiv:2002.02798.
    """

    options_of = ContinuousFlow

    def __init__(
        self,
        latent_shape: LatentShape,
        context_features: int = 0,
        hidden_features: int = 64,
        num_layers: int = 2,
        num_frequencies: int = 0,
        **options: Any,
    ) -> None:
        size = math.prod(latent_shape)
        velocity = MLPVelocity(size, hidden_features, num_layers, context_features, num_frequencies)
        super().__init__(latent_shape, context_features, [ContinuousFlow(velocity, **options)])
