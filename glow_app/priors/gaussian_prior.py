"""The prior of the Glow paper: a learned Gaussian."""

from torch import Tensor

from glow_app.bijections import Bijection, DiagonalAffine, NormalDensity, PrincipalDirections


class GaussianPrior(NormalDensity, Bijection):
    r"""A learned Gaussian per channel, shifted and scaled by the context if there is one: the prior of the Glow paper.

    .. math:: z = (x - \mu_c) \odot e^{-s_c}, \qquad \log|\det J| = -H W \sum_c s_c

    Args:
        latent_shape: (C, H, W) of the last latent.
        context_features: Size :math:`E` of the context that moves the mean and the scale; 0 for none.
        rank: Most directions of the whole latent that have a variance of their own, which is not trained but fitted;
            0 for none. See :class:`~glow_app.bijections.PrincipalDirections`.
    Shape:
        x, z: (B, C, H, W); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    References:
        Glow, Kingma & Dhariwal 2018, arXiv:1807.03039; the published code's ``prior`` with ``learntop`` and ``ycond``.
    """

    def __init__(self, latent_shape: tuple[int, int, int], context_features: int = 0, rank: int = 0) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.whiten = DiagonalAffine(latent_shape[0], context_features, kernel_size=1)
        self.principal = PrincipalDirections(latent_shape, rank) if rank else None

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments beyond those that Glow passes."""
        return {} if self.principal is None else {"rank": self.principal.rank}

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whiten ``x``."""
        z, log_det = self.whiten(x, context)
        if self.principal is None:
            return z, log_det
        z, term = self.principal(z)
        return z, log_det + term

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Colour ``z``."""
        if self.principal is None:
            return self.whiten.inverse(z, context)
        z, log_det = self.principal.inverse(z)
        x, term = self.whiten.inverse(z, context)
        return x, log_det + term
