"""Write your own step of a Glow, train it on digits, save it, load it and serve it.

    pip install -e '.[demo]'
    python examples/own_step.py

A step of Glow is actnorm, 1x1 convolution and coupling. This one bends each channel by a spline as well. It takes a
minute on a CPU, writes the model to ``own_step_model`` and samples to ``own_step.png``, and prints the command that
serves the model: every command takes it, if ``--import`` names the module that registers it.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from glow_app import Glow, ImageModel, load_model, register, save_pretrained
from glow_app.bijections import ActNorm, AffineCoupling, Bijection, Chain, InvertibleConv1x1, SplineMap
from glow_app.data.sources import load_split
from glow_app.nn import ConvConditioner


class SplineActivation(Bijection):
    r"""Bend every channel by a spline of its own.

    .. math:: z_c = g(x_c; \theta_c), \qquad \log|\det J| = \sum_{c, i} \log g'(x_{c, i}; \theta_c)

    Args:
        channels: Number C of channels.
        num_bins: Bins of each spline, which is the identity at initialisation.
    Shape:
        x, z: (B, C, H, W); log_det: (B,), nats.
    """

    def __init__(self, channels: int, num_bins: int) -> None:
        super().__init__()
        self.spline = SplineMap(num_bins, tail_bound=4.0)
        self.theta = nn.Parameter(torch.zeros(channels, self.spline.num_parameters))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bend."""
        return self._apply_spline(self.spline.forward, x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bend back."""
        return self._apply_spline(self.spline.inverse, z)

    def _apply_spline(
        self, spline: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        each = x.movedim(1, -1)  # channels last, as the parameters
        y, log_derivative = spline(each, self.theta.expand(*each.shape, -1))
        return y.movedim(-1, 1), log_derivative.flatten(1).sum(1)


@register("spline-step")  # the name by which a saved model calls it
class SplineStep(Chain):
    """Actnorm, 1x1 convolution, splines and affine coupling.

    Args:
        channels, hidden_channels, context_features: What Glow passes to each step.
        num_bins: Bins of the splines.
    """

    def __init__(self, channels: int, hidden_channels: int, context_features: int = 0, num_bins: int = 8) -> None:
        kept, rest = channels // 2, channels - channels // 2
        coupling = AffineCoupling(channels, ConvConditioner(kept, 2 * rest, hidden_channels, context_features))
        super().__init__(ActNorm(channels), InvertibleConv1x1(channels), SplineActivation(channels, num_bins), coupling)


def log_det_error() -> float:
    """Return the largest difference between the log-determinant and that of autograd's full Jacobian, in nats."""
    step, x = SplineStep(4, 8).double(), torch.randn(3, 4, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        step.initialize(x)
        for parameter in step.parameters():  # the identity's log-determinant would hide every mistake
            parameter.add_(0.3 * torch.randn_like(parameter))
        jacobians = [torch.func.jacrev(lambda x: step(x)[0])(image).view(16, 16) for image in x.split(1)]
        return float((torch.linalg.slogdet(torch.stack(jacobians)).logabsdet - step(x)[1]).abs().max())


def main() -> None:
    """Check the log-determinant, train, save, load, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600, help="training steps (default: %(default)s)")
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    torch.set_num_threads(1)  # images this small gain nothing from more
    print(f"log-det: largest error {log_det_error():.1e} nats", flush=True)

    train, test = (torch.from_numpy(load_split("digits", split, (1, 8, 8)).images) for split in ("train", "test"))
    model = ImageModel(Glow((1, 8, 8), num_levels=2, num_steps=8, hidden_channels=32, step=SplineStep), num_bits=4)
    model.initialize(train)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.3)
    for _ in range(steps):
        loss = model(train[torch.randint(len(train), (64,))]).mean()  # bits/dim
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    folder = save_pretrained(model.eval(), "own_step_model", overwrite=True)
    loaded = load_model(folder)
    print(f"{loaded.bits_per_dim(test).mean():.3f} bits/dim on {len(test)} held-out digits")
    loaded.sample(80, temperature=0.7, seeds=0).save("own_step.png")
    print(f"PYTHONPATH=examples glow --import own_step serve --checkpoint {folder}")


if __name__ == "__main__":
    main()
