"""Train planar, MAF, IAF and CNF priors by themselves, as densities of points on two spirals.

    python examples/toys.py

Each prints its divergence from the truth, in nats: the mean negative log-likelihood of fresh points less the entropy
of the spirals, which is known. All together take two and a half minutes on a CPU, and write ``toys.png``: the densities
that they have learnt, beside points of the data.
"""

import argparse
import math

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from glow_app.bijections import NormalDensity
from glow_app.priors import CNFPrior, IAFPrior, MAFPrior, PlanarPrior

ENTROPY = 2.64545 - 2 * math.log(2)  # nats, by quadrature


def draw_spirals(count: int, generator: Generator) -> Tensor:
    r"""Return points, (count, 2), on two spiral arms, blurred by one-sided uniform noise and by normal noise.

    .. math:: 2x = \pm\bigl(c(t) + u\bigr) + 0.1\epsilon, \qquad c = n\,(-\cos n, \sin n) / 3, \quad n = 3\pi t,
              \qquad p(t) = 2t, \quad u \sim U[0, \tfrac16]^2

    as in FFJORD's toy code (Grathwohl et al. 2019, arXiv:1810.01367), at half the size.
    """
    sign = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
    angle = 3 * math.pi * torch.rand(count, 1, generator=generator).sqrt()
    arm = angle / 3 * torch.cat([-angle.cos(), angle.sin()], dim=1)
    jitter = torch.rand(count, 2, generator=generator) / 6
    return (sign * (arm + jitter) + 0.1 * torch.randn(count, 2, generator=generator)) / 2


def priors() -> dict[str, NormalDensity]:
    """Return the densities by name; a prior of latents (2,) is one of vectors in the plane."""
    splines = {"num_blocks": 2, "elementwise": "spline", "num_bins": 16, "tail_bound": 3.0}
    return {
        "planar": PlanarPrior((2,), num_layers=24),
        "MAF": MAFPrior((2,), **splines),  # type: ignore[arg-type]
        "IAF": IAFPrior((2,), **splines),  # type: ignore[arg-type]
        "CNF": CNFPrior(
            (2,), num_layers=3, num_frequencies=4, solver="rk4", num_steps=5, eval_atol=1e-4, eval_rtol=1e-4
        ),
    }


def train(prior: NormalDensity, steps: int) -> float:
    """Fit a prior to the spirals; return its divergence from them, in nats."""
    generator = Generator().manual_seed(0)
    parameters = list(prior.parameters())  # type: ignore[attr-defined]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = -prior.log_prob(draw_spirals(512, generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
    prior.eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        return -float(prior.log_prob(draw_spirals(10_000, generator)).mean()) - ENTROPY


def plot(trained: dict[str, NormalDensity], path: str, side: int = 160) -> None:
    """Write points of the data, and each density on a grid, to a picture."""
    ticks = torch.linspace(-2, 2, side)
    grid = torch.stack(torch.meshgrid(ticks, -ticks, indexing="xy"), -1).reshape(-1, 2)
    points = draw_spirals(100_000, Generator().manual_seed(1)).numpy()
    figure = Figure(figsize=(3 * (1 + len(trained)), 3), dpi=100, layout="constrained")
    data, *panels = figure.subplots(1, 1 + len(trained))
    data.hist2d(*points.T, bins=side, range=[[-2, 2], [-2, 2]], cmap="inferno")
    data.set_title("data")
    for panel, (name, prior) in zip(panels, trained.items(), strict=True):
        with torch.no_grad():
            panel.imshow(prior.log_prob(grid).exp().reshape(side, side).numpy(), cmap="inferno")
        panel.set_title(name)
    for panel in (data, *panels):
        panel.set(xticks=[], yticks=[], aspect=1)
    figure.savefig(path)


def main() -> None:
    """Train all, print their divergences, and plot them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="training steps of each (default: %(default)s)")
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    torch.set_num_threads(1)  # networks this small gain nothing from more
    trained = priors()
    for name, prior in trained.items():
        num_steps = steps // 3 if name == "CNF" else steps  # one of which takes five times as long
        print(f"{name}: {train(prior, num_steps):.3f} nats from the truth", flush=True)
    plot(trained, "toys.png")


if __name__ == "__main__":
    main()
