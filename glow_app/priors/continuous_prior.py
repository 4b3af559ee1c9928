"""A continuous prior."""

import math
from inspect import signature
from typing import Literal

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
        solver: "dopri5", or "euler", "midpoint", "rk4" with ``num_steps`` fixed steps.
        num_steps: Steps of a fixed-step solver.
        atol: Absolute tolerance of dopri5 in training.
        rtol: Relative tolerance of dopri5 in training.
        eval_solver: The solver in evaluation mode.
        eval_atol: Absolute tolerance of dopri5 in evaluation mode.
        eval_rtol: Relative tolerance of dopri5 in evaluation mode.
        max_num_steps: Most steps of dopri5 in training.
        eval_max_num_steps: Most steps of dopri5 in evaluation mode.
        trace: "exact", "hutchinson" or "auto".
        max_exact_dims: Most dimensions of an exact trace.
        adjoint: Constant memory: gradients from an equation solved backward in time.
        kinetic_weight: Weight of RNODE's kinetic energy, in the unit of the loss per dimension.
        jacobian_weight: Weight of RNODE's Frobenius norm, in the unit of the loss per dimension.
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
        solver: Literal["dopri5", "euler", "midpoint", "rk4"] = "dopri5",
        num_steps: int = 8,
        atol: float = 1e-4,
        rtol: float = 1e-4,
        eval_solver: Literal["dopri5", "euler", "midpoint", "rk4"] = "dopri5",
        eval_atol: float = 1e-7,
        eval_rtol: float = 1e-7,
        max_num_steps: int = 100,
        eval_max_num_steps: int = 1000,
        trace: Literal["auto", "exact", "hutchinson"] = "auto",
        max_exact_dims: int = 64,
        adjoint: bool = False,
        kinetic_weight: float = 0.0,
        jacobian_weight: float = 0.0,
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
        solve = {name: value for name, value in config.items() if name in signature(ContinuousFlow).parameters}
        flow = ContinuousFlow(**solve | {"velocity": network})  # type: ignore[arg-type]
        super().__init__(latent_shape, context_features, [flow], config, on_vectors)
