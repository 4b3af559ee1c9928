"""Base of the learned priors: a Gaussian, then a head on the flattened latent."""

import math
from collections.abc import Sequence

from glow_app.bijections import Bijection, Chain, NormalDensity, Reshape
from glow_app.priors.gaussian_prior import GaussianPrior, LatentShape


class HeadPrior(NormalDensity, Chain):
    r"""A Gaussian followed by a head: :math:`f = f_\text{head} \circ f_\text{Gauss}`.

    Heads start as the identity or close to it, so training starts as with the Gaussian alone, and the head learns what
    the Gaussian does not describe. A head uses the context too, not only the Gaussian before it.

    Args:
        latent_shape: (C, H, W) of the last latent; or (D,), of vectors.
        context_features: Size :math:`E` of the context; 0 for none.
        head: Bijections of the head, on (B, C*H*W); they see the mean of a context (B, E, H, W).
    Shape:
        x, z: (B, C, H, W) or (B, D); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    """

    def __init__(self, latent_shape: LatentShape, context_features: int, head: Sequence[Bijection]) -> None:
        vector = (math.prod(latent_shape),)
        head = [Reshape(latent_shape, vector), *head, Reshape(vector, latent_shape)]
        super().__init__(GaussianPrior(latent_shape, context_features), *head)
        self.latent_shape = latent_shape
