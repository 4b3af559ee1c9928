"""Public Glow implementations and this project's, behind one interface and with the same architecture.

Implementations that are not installed are left out: ``pip install -e '.[bench]'`` installs normflows and FrEIA, and
y0ast's, which is not a package, is loaded from a checkout of its repository.
"""

import argparse
import importlib.util
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glow_app.flows import Glow, WaveletFlow
from glow_app.flows.glow import level_shapes
from glow_app.likelihood import standard_normal_log_density
from glow_app.models.image_model import ImageModel

__all__ = ["Architecture", "GlowModel", "add_peer_arguments", "peers"]

OURS = "glow-app"


@dataclass(frozen=True)
class Architecture:
    """The architecture that all implementations build."""

    size: int = 32  # height and width of the images
    levels: int = 3
    steps: int = 8  # per level
    width: int = 128  # of the conditioners, which have 3x3, 1x1 and 3x3 convolutions
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size


class GlowModel(nn.Module, ABC):
    """The interface of an implementation."""

    def initialize(self, images: Tensor) -> None:
        """Set the data-dependent parameters from the first batch, uint8 (B, 3, H, W)."""
        with torch.no_grad():
            self(images)

    def optimizer(self, lr: float) -> Optimizer:
        """Return Adam, as in the examples of this implementation."""
        return torch.optim.Adam(self.parameters(), lr=lr)

    def prepare(self) -> None:
        """Prepare for inference."""
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return bits/dim of one dequantisation draw, (B,), of uint8 images."""
        y = (images + torch.rand(images.shape, device=images.device)) / 256 - 0.5
        dims = math.prod(images.shape[1:])
        return 8.0 - self.log_prob(y) / (dims * math.log(2.0))

    def log_prob(self, y: Tensor) -> Tensor:
        """Return log-densities in nats, (B,), of images in [-1/2, 1/2); for :meth:`forward`."""
        raise NotImplementedError

    @abstractmethod
    def sample(self, count: int) -> Tensor:
        """Return samples, (count, 3, H, W)."""


class Ours(GlowModel):
    """This project's implementation, by its public API; a ``flow`` replaces that of the architecture."""

    def __init__(self, architecture: Architecture, flow: Glow | WaveletFlow | None = None) -> None:
        super().__init__()
        a = architecture
        self.model = ImageModel(flow or Glow(a.shape, a.levels, a.steps, a.width))

    def initialize(self, images: Tensor) -> None:
        self.model.initialize(images)

    def optimizer(self, lr: float) -> Optimizer:
        return torch.optim.Adam(self.parameters(), lr=lr, fused=True)  # as in configs/cifar10_cpu.yaml

    def prepare(self) -> None:
        self.model.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def sample(self, count: int) -> Tensor:
        return self.model.sample(count, 1.0, seeds=0)


class Normflows(GlowModel):
    """normflows, as in its Glow example for CIFAR-10, without classes."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        import normflows

        shapes = level_shapes(architecture.shape, architecture.levels)
        flows, bases, merges = [], [], []
        for level, (channels, height, width) in reversed(list(enumerate(shapes))):
            block = partial(normflows.flows.GlowBlock, channels, architecture.width, split_mode="channel")
            steps = [block() for _ in range(architecture.steps)]
            flows.append(nn.ModuleList([*steps, normflows.flows.Squeeze()]))
            last = level == architecture.levels - 1
            bases.append(normflows.distributions.DiagGaussian((channels if last else channels // 2, height, width)))
            if not last:
                merges.append(normflows.flows.Merge())
        self.flow = normflows.MultiscaleFlow(bases, flows, merges, class_cond=False)

    def log_prob(self, y: Tensor) -> Tensor:
        return self.flow.log_prob(y, None)

    def sample(self, count: int) -> Tensor:
        return self.flow.sample(count)[0]


class Freia(GlowModel):
    """FrEIA with its all-in-one blocks (fixed rotation, global and coupling scales), faster than its Glow blocks."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        import FrEIA.framework as freia
        import FrEIA.modules as freia_modules

        a = architecture

        def network(inputs: int, outputs: int) -> nn.Module:
            layers = [nn.Conv2d(inputs, a.width, 3, padding=1), nn.ReLU(), nn.Conv2d(a.width, a.width, 1), nn.ReLU()]
            last = nn.Conv2d(a.width, outputs, 3, padding=1)
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
            return nn.Sequential(*layers, last)

        node = freia.InputNode(*a.shape)
        nodes, latents = [node], []
        self.shapes = level_shapes(a.shape, a.levels)
        block = {"subnet_constructor": network, "permute_soft": True}
        for level, (channels, _, _) in enumerate(self.shapes):
            nodes.append(node := freia.Node(node, freia_modules.IRevNetDownsampling, {}))
            for _ in range(a.steps):
                nodes.append(node := freia.Node(node, freia_modules.AllInOneBlock, block))
            if level < a.levels - 1:
                sections = {"section_sizes": [channels // 2, channels // 2], "dim": 0}
                nodes.append(split := freia.Node(node, freia_modules.Split, sections))
                node = split.out0
                latents.append(freia.OutputNode(split.out1))
        latents.append(freia.OutputNode(node))
        self.flow = freia.GraphINN([*nodes, *latents])
        self.latent_shapes = [(c // 2, h, w) for c, h, w in self.shapes[:-1]] + self.shapes[-1:]

    def log_prob(self, y: Tensor) -> Tensor:
        latents, log_det = self.flow(y)
        return standard_normal_log_density(latents) + log_det

    def sample(self, count: int) -> Tensor:
        return self.flow([torch.randn(count, *shape) for shape in self.latent_shapes], rev=True)[0]


class Y0ast(GlowModel):
    """github.com/y0ast/Glow-PyTorch, from a checkout."""

    def __init__(self, architecture: Architecture, folder: Path) -> None:
        super().__init__()
        sys.path.insert(0, str(folder))
        glow = importlib.import_module("model").Glow
        sys.path.remove(str(folder))
        a = architecture
        shape = (a.size, a.size, a.channels)
        self.flow = glow(shape, a.width, a.steps, a.levels, 1.0, "invconv", "affine", True, 10, True, False)

    def initialize(self, images: Tensor) -> None:
        self.train()
        super().initialize(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.flow(images / 256 - 0.5)[1]  # it adds the noise itself

    def sample(self, count: int) -> Tensor:
        mean, log_scale = (part[:1].expand(count, -1, -1, -1) for part in self.flow.prior(torch.empty(1)))
        return self.flow.flow(mean + log_scale.exp() * torch.randn_like(mean), temperature=1.0, reverse=True)


def add_peer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--y0ast``."""
    parser.add_argument("--y0ast", metavar="FOLDER", help="checkout of github.com/y0ast/Glow-PyTorch")


def peers(arguments: argparse.Namespace) -> dict[str, Callable[[Architecture], GlowModel]]:
    """Return the constructor of each implementation by name, this project's first."""
    packages = {"normflows": Normflows, "FrEIA": Freia}
    available: dict[str, Callable[[Architecture], GlowModel]] = {OURS: Ours}
    available |= {name: build for name, build in packages.items() if importlib.util.find_spec(name)}
    if arguments.y0ast:
        available["y0ast"] = partial(Y0ast, folder=Path(arguments.y0ast))
    return available
