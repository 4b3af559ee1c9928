"""A continuous prior."""

import math
from typing import Literal

from glow_app.bijections import ContinuousFlow
from glow_app.nn import ConvVelocity, MLPVelocity, Velocity
from glow_app.priors.head import HeadPrior, LatentShape

__all__ = ["CNFPrior"]


class CNFPrior(HeadPrior):
    r"""A Gaussian and a :class:`~glow_app.bijections.ContinuousFlow`: both directions cost a solve.

    Args:
        latent_shape: (C, H, W) of the last latent.
        context_features: Size :math:`E` of the context; 0 for none.
        velocity: "conv" on latents as they are, "mlp" on flattened ones; "auto" takes the first where there is more
            than one pixel.
        hidden_features: Width of the velocity network.
        num_layers: Hidden layers of an "mlp"; a "conv" has two.
        num_frequencies: Waves that an "mlp" sees beside each value, for densities with sharp edges.
        solver: "dopri5", or "euler", "midpoint", "rk4" with ``num_steps`` fixed steps.
        num_steps: Steps of a fixed-step solver.
        atol: Absolute tolerance of dopri5 in training.
        rtol: Relative tolerance of dopri5 in training.
        eval_solver: The solver in evaluation mode.
        eval_atol: Absolute tolerance of dopri5 there.
        eval_rtol: Relative tolerance of dopri5 there.
        max_num_steps: Steps of dopri5 after which it gives up in training.
        eval_max_num_steps: The same in evaluation mode.
        trace: "exact", "hutchinson" or "auto".
        max_exact_dims: Most dimensions of an exact trace.
        noise: Of Hutchinson's estimate: "rademacher" or "gaussian".
        adjoint: Constant memory, by a second solve backward.
        kinetic_weight: Of RNODE's kinetic energy, in the unit of the loss for each dimension.
        jacobian_weight: Of RNODE's Frobenius norm, likewise.
    Shape:
        x, z: (B, C, H, W); context: (B, E) or None; log_det: (B,), nats.
    Raises:
        ValueError: If a size or a name is none that there is.
        SolverError: If the equation cannot be solved.
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
        noise: Literal["rademacher", "gaussian"] = "rademacher",
        adjoint: bool = False,
        kinetic_weight: float = 0.0,
        jacobian_weight: float = 0.0,
    ) -> None:
        if velocity not in ("auto", "conv", "mlp"):
            raise ValueError(f"velocity is {velocity!r}; expected auto, conv or mlp")
        channels, height, width = latent_shape
        on_vectors = velocity == "mlp" or (velocity == "auto" and height * width == 1)
        network: Velocity = (
            MLPVelocity(math.prod(latent_shape), hidden_features, num_layers, context_features, num_frequencies)
            if on_vectors
            else ConvVelocity(channels, hidden_features, context_features)
        )
        config: dict[str, object] = {
            "solver": solver,
            "num_steps": num_steps,
            "atol": atol,
            "rtol": rtol,
            "eval_solver": eval_solver,
            "eval_atol": eval_atol,
            "eval_rtol": eval_rtol,
            "max_num_steps": max_num_steps,
            "eval_max_num_steps": eval_max_num_steps,
            "trace": trace,
            "max_exact_dims": max_exact_dims,
            "noise": noise,
            "adjoint": adjoint,
            "kinetic_weight": kinetic_weight,
            "jacobian_weight": jacobian_weight,
        }
        flow = ContinuousFlow(network, **config)  # type: ignore[arg-type]
        config |= {
            "velocity": velocity,
            "hidden_features": hidden_features,
            "num_layers": num_layers,
            "num_frequencies": num_frequencies,
        }
        super().__init__(latent_shape, context_features, [flow], config, on_vectors)
