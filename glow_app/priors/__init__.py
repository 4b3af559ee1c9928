"""Priors of the last latent: bijections onto N(0, I), chosen by name in a config.

Glow calls a prior with the ``latent_shape`` (C, H, W) of its last level and the size ``context_features`` of the
context there, a vector or the channels of a feature map (0 when unconditional).
"""

from glow_app.priors.autoregressive_prior import IAFPrior, MAFPrior
from glow_app.priors.continuous_prior import CNFPrior
from glow_app.priors.gaussian_prior import GaussianPrior
from glow_app.priors.head_prior import HeadPrior
from glow_app.priors.planar_prior import PlanarPrior
