"""Report of a run on vectors: test log-likelihood in nats, and pictures if there are two features."""

from pathlib import Path

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.data import TOYS, Split
from glow_app.evaluation.bits import estimated_trace_note
from glow_app.generation.plane import density_picture, flow_picture, samples_picture
from glow_app.models.vector_model import VectorModel
from glow_app.pictures.images import save_png
from glow_app.seeding import step_generator
from glow_app.storage.stored_model import load_density
from lightning_modules.vector_data import VectorDataModule
from lightning_modules.vector_density import VectorDensityModule


def finish_vectors(run_dir: Path, data: VectorDataModule) -> None:
    """Print the log-likelihood of the test split, or of the validation split if there is none; write pictures."""
    if not (run_dir / "model").exists():
        return  # the run stopped before an export
    model = load_density(run_dir / "model")
    assert isinstance(model, VectorModel)
    split: Split = "test" if data.hparams["test_fraction"] > 0 else "validation"
    points = data.examples(split).values
    print(f"evaluating on {len(points)} {split} vectors", flush=True)
    _report(_log_likelihood(model, points, data), model, data, split)
    if model.num_features != 2:
        return
    folder = run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    save_png(density_picture(model, points), folder / "density.png")
    save_png(samples_picture(model, points), folder / "samples.png")
    save_png(flow_picture(model), folder / "flow.png")
    print(f"pictures: {folder}/density.png, samples.png (data, model), flow.png (noise to data)")


def print_vector_report(
    module: VectorDensityModule, data: VectorDataModule, split: Split, figures: dict[str, float]
) -> None:
    """Print the log-likelihood of a split, whose negative is in ``figures``, and two references."""
    _report(-figures[module.metric], module.model, data, split)


def _report(log_likelihood: float, model: VectorModel, data: VectorDataModule, split: Split) -> None:
    vectors = data.examples(split).values
    source, count, width = data.hparams["source"], *vectors.shape
    described = f"{source}, {split} split, {count} vectors of {width}{estimated_trace_note(model, width)}"
    print(f"{log_likelihood:.4f} nats  log-likelihood ({described})")
    if source in TOYS:
        # On the same points, so that the difference does not depend on their draw.
        exact = float(TOYS[source].log_density(vectors).mean())
        print(f"{exact:.4f} nats  the best there can be: the exact density, on average {-TOYS[source].entropy:.4f}")
    if (gaussian := _gaussian(data.examples("train").values, vectors)) is not None:
        print(f"{gaussian:.4f} nats  reference: one Gaussian, fitted to the training split")


def _log_likelihood(model: VectorModel, points: Tensor, data: VectorDataModule) -> float:
    """Return the mean log-density in nats; trace estimates use the noise of `glow test`."""
    parts = points.split(data.hparams["eval_batch_size"] or data.hparams["batch_size"])
    total = 0.0
    for index, part in enumerate(parts):
        with record_solves(step_generator(data.hparams["seed"], index, model.device, "trace-test")):
            total += float(model.log_prob(part).cpu().double().sum())
    return total / len(points)


def _gaussian(train: Tensor, vectors: Tensor) -> float | None:
    """Return the mean log-density of ``vectors`` under a Gaussian fitted to ``train``; None for too few vectors."""
    if len(train) <= train.shape[1]:
        return None
    train, vectors = train.double(), vectors.double()
    covariance = train.T.cov().reshape(train.shape[1], train.shape[1])
    # Slightly larger variances, because linearly dependent columns have no Gaussian density.
    covariance += 1e-9 * covariance.diag().diag()
    return float(torch.distributions.MultivariateNormal(train.mean(0), covariance).log_prob(vectors).mean())
