import math
from typing import Any

import pytest
import torch
from registry import tiny_glow
from torch.quasirandom import SobolEngine


@pytest.mark.parametrize("arguments", [{}, {"coupling": "additive"}, {"num_classes": 2, "embedding_features": 2}])
@torch.no_grad()
def test_the_density_of_a_whole_model_integrates_to_one(arguments: dict[str, Any]) -> None:
    flow = tiny_glow((1, 2, 2), 1, 2, 6, torch.float64, perturbation=0.1, **arguments)
    context = flow.embed(torch.ones(1, dtype=torch.long)) if flow.num_classes else None

    # Importance sampling on a low-discrepancy grid; a logistic has heavier tails than the flow.
    noise = [torch.randn(20_000, 4, 1, 1, dtype=torch.float64)]
    samples = flow.decode(noise, None if context is None else context.expand(20_000, -1)).flatten(1)
    root = torch.linalg.cholesky(samples.T.cov())
    uniform = SobolEngine(4, scramble=True, seed=0).draw(2**18, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    logistic = torch.logit(uniform)
    points = samples.mean(0) + logistic @ root.T
    log_proposal = (torch.log(uniform) + torch.log1p(-uniform)).sum(1) - root.diagonal().log().sum()
    log_density = flow.log_prob(points.reshape(-1, 1, 2, 2), None if context is None else context.expand(2**18, -1))
    integral = (log_density - log_proposal).exp().mean().item()
    assert math.isclose(integral, 1.0, abs_tol=1e-2)
