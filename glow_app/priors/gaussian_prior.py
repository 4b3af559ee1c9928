"""The prior of the Glow paper: a learned Gaussian."""

from torch import Tensor

from glow_app.bijections import Bijection, DiagonalAffine, NormalDensity, PrincipalDirections
from glow_app.spec import register

LatentShape = tuple[int, int, int] | tuple[int]


@register("gaussian")
class GaussianPrior(NormalDensity, Bijection):
    r"""A learned Gaussian per channel, shifted and scaled by the context if there is one: the prior of the Glow paper.

    .. math:: z = (x - \mu_c) \odot e^{-s_c}, \qquad \log|\det J| = -H W \sum_c s_c

    Args:
        latent_shape: (C, H, W) of the last latent; or (D,), of vectors.
        context_features: Size :math:`E` of the context that moves the mean and the scale; 0 for none.
        rank: Most directions of the whole latent that have a variance of their own, which is not trained but fitted;
            0 for none. See :class:`~glow_app.bijections.PrincipalDirections`.
    Shape:
        x, z: (B, C, H, W) or (B, D); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    References:
        Glow, Kingma & Dhariwal 2018, arXiv:1807.03039; the published code's ``prior`` with ``learntop`` and ``ycond``.
    """

    def __init__(self, latent_shape: LatentShape, context_features: int = 0, rank: int = 0) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        maps = latent_shape if len(latent_shape) == 3 else (latent_shape[0], 1, 1)
        self.whiten = DiagonalAffine(latent_shape[0], context_features, kernel_size=1)
        self.principal = PrincipalDirections(maps, rank) if rank else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whiten ``x``."""
        z, log_det = self.whiten(self._as_maps(x), context)
        if self.principal is not None:
            z, term = self.principal(z)
            log_det = log_det + term
        return z.reshape(x.shape), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Colour ``z``."""
        x, log_det = self._as_maps(z), z.new_zeros(())
        if self.principal is not None:
            x, log_det = self.principal.inverse(x)
        x, term = self.whiten.inverse(x, context)
        return x.reshape(z.shape), log_det + term

    def _as_maps(self, x: Tensor) -> Tensor:
        return x[:, :, None, None] if len(self.latent_shape) == 1 and x.ndim == 2 else x
