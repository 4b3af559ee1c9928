"""A continuous prior."""

import math
from typing import Any, Literal

from glow_app.bijections import ContinuousFlow
from glow_app.nn import ConvVelocity, MLPVelocity, Velocity
from glow_app.nn.shape_checks import require_choice
from glow_app.priors.head_prior import HeadPrior, LatentShape, own_arguments


class CNFPrior(HeadPrior):
    r"""A Gaussian and a :class:`~glow_app.bijections.ContinuousFlow`: both directions cost a solve.

    Args:
        latent_shape: (C, H, W) of the last latent.
        context_features: Size :math:`E` of the context; 0 for none.
        velocity: "conv" on (B, C, H, W), "mlp" on flattened latents; "auto" is "conv" if there is more than one pixel.
        hidden_features: Width of the velocity network.
        num_layers: Hidden layers of an "mlp"; a "conv" has two.
        num_frequencies: Fourier features per value of an "mlp", for densities with sharp edges.
        **options: As for :class:`~glow_app.bijections.ContinuousFlow`: how it is solved, and its penalties.
    Shape:
        x, z: (B, C, H, W); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    Raises:
        ValueError: If an argument is invalid.
        SolverError: In a solve, if it fails.
    References:
        FFJORD, Grathwohl et al. 2019, arXiv:1810.01367; RNODE, Finlay et al. 2020, arXiv:2002.02798.
    """

    def __init__(
        self,
        latent_shape: LatentShape,
        context_features: int = 0,
        velocity: Literal["auto", "conv", "mlp"] = "auto",
        hidden_features: int = 64,
        num_layers: int = 2,
        num_frequencies: int = 0,
        **options: Any,
    ) -> None:
        config = own_arguments(locals())
        require_choice(("auto", "conv", "mlp"), velocity=velocity)
        channels, height, width = latent_shape
        on_vectors = velocity == "mlp" or (velocity == "auto" and height * width == 1)
        network: Velocity = (
            MLPVelocity(math.prod(latent_shape), hidden_features, num_layers, context_features, num_frequencies)
            if on_vectors
            else ConvVelocity(channels, hidden_features, context_features)
        )
        super().__init__(latent_shape, context_features, [ContinuousFlow(network, **options)], config, on_vectors)
