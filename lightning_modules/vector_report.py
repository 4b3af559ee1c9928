"""What a run on vectors says at its end: test log-likelihood in nats, and pictures where there are two features."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.checkpoint import load_density
from glow_app.data import TOYS, Split
from glow_app.generation.plane import density_picture, flow_picture, samples_picture
from glow_app.images import save_png
from glow_app.vector_model import VectorModel
from lightning_modules.vector_data import VectorDataModule
from lightning_modules.vector_density import VectorDensityModule

__all__ = ["finish_vectors", "print_vector_report"]


def print_vector_report(
    module: VectorDensityModule, data: VectorDataModule, command: str, metrics: Mapping[str, Any]
) -> None:
    """Print the log-likelihood of the evaluated split.

    Args:
        module: The evaluated module.
        data: Its data, set up.
        command: "validate" or "test".
        metrics: What the trainer measured.
    """
    split: Split = "validation" if command == "validate" else "test"
    _report(-float(metrics[f"{'val' if command == 'validate' else 'test'}/nats"]), data, split)


def finish_vectors(run_dir: Path, data: VectorDataModule) -> None:
    """Print the test log-likelihood of the run's exported model and write its pictures.

    Args:
        run_dir: The run's folder, with ``model/``.
        data: Its data.
    """
    if not (run_dir / "model").exists():
        return  # stopped before there was anything to export
    model = load_density(run_dir / "model")
    assert isinstance(model, VectorModel)
    points = data.vectors("test")
    _report(float(torch.cat([model.log_prob(part) for part in points.split(10_000)]).mean()), data, "test")
    if model.num_features != 2:
        return
    folder = run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    save_png(density_picture(model, points), folder / "density.png")
    save_png(samples_picture(model, points), folder / "samples.png")
    save_png(flow_picture(model), folder / "flow.png")
    print(f"pictures: {folder}/density.png, samples.png (data, model), flow.png (noise to data)")


def _report(log_likelihood: float, data: VectorDataModule, split: Split) -> None:
    vectors = data.vectors(split)
    source, count, width = data.hparams["source"], *vectors.shape
    print(f"{log_likelihood:.4f} nats  log-likelihood ({source}, {split} split, {count} vectors of {width})")
    if source in TOYS:
        # Of the same points, which leaves the luck of the draw out of the difference.
        exact = float(TOYS[source].log_density(vectors).mean())
        print(f"{exact:.4f} nats  the best there can be: the exact density, on average {-TOYS[source].entropy:.4f}")
    print(
        f"{_gaussian(data.vectors('train'), vectors):.4f} nats  reference: one Gaussian, fitted to the training split"
    )


def _gaussian(train: Tensor, vectors: Tensor) -> float:
    """Return the mean log-density of ``vectors`` under the Gaussian with the moments of ``train``."""
    train, vectors = train.double(), vectors.double()
    covariance = train.T.cov().reshape(train.shape[1], train.shape[1])
    # A little on the diagonal: columns that depend on one another have no Gaussian density.
    covariance = covariance + 1e-9 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=train.dtype)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (vectors - train.mean(0)).T, upper=False)
    log_det = torch.linalg.slogdet(covariance).logabsdet
    return float(-0.5 * (white.square().sum(0).mean() + log_det + train.shape[1] * math.log(2 * math.pi)))
