"""A prior of planar layers."""

import math

from glow_app.bijections import Planar
from glow_app.nn.shape_checks import require_at_least
from glow_app.priors.head_prior import HeadPrior, LatentShape
from glow_app.spec import register


@register("planar")
class PlanarPrior(HeadPrior):
    r"""A Gaussian and a stack of :class:`~glow_app.bijections.Planar` layers on the flattened latent.

    Cheap in both directions, :math:`O(D)` per layer, but each layer moves the latent along one direction only.

    Args:
        latent_shape: (C, H, W) of the last latent; or (D,), of vectors.
        context_features: Size :math:`E` of the context; 0 for none.
        num_layers: Planar layers.
    Shape:
        x, z: (B, C, H, W) or (B, D); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    Raises:
        ValueError: If there is no layer.
    References:
        Rezende & Mohamed 2015, arXiv:1505.05770.
    """

    def __init__(self, latent_shape: LatentShape, context_features: int = 0, num_layers: int = 8) -> None:
        require_at_least(1, num_layers=num_layers)
        num_features = math.prod(latent_shape)
        head = [Planar(num_features, context_features) for _ in range(num_layers)]
        super().__init__(latent_shape, context_features, head)
