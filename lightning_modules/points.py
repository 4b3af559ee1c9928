"""Training a prior by itself, as a density of points in the plane: data, module and pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import Bijection
from glow_app.data.splits import Split
from glow_app.data.toys import PointSet, load_points
from glow_app.evaluation.points import density_picture, flow_picture, points_report, samples_picture
from glow_app.models.points_model import PointsModel
from glow_app.pictures.images import save_picture
from glow_app.priors import GaussianPrior
from glow_app.storage.stored_model import load_density
from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.resumable_data import ResumableDataModule


class PointsDataModule(ResumableDataModule[PointSet]):
    """Training and validation loaders of a toy density.

    Args:
        source: "two_moons", "eight_gaussians", "checkerboard", "pinwheel", "rings" or "two_spirals".
        batch_size: Training points per batch and rank.
        eval_batch_size: Points per validation batch and rank; ``batch_size`` if None.
        seed: Seed of the points and their order.
        limit: Maximum number of points per split.
    Shape:
        Batches are float32 (B, 2).
    Raises:
        ValueError: In ``setup`` or when a loader is built, if an argument is out of range.
    """

    def __init__(
        self,
        source: str = "eight_gaussians",
        batch_size: int = 512,
        eval_batch_size: int | None = None,
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)

    def _load(self, split: Split) -> PointSet:
        return load_points(self.hparams["source"], split, seed=self.hparams["seed"], limit=self.hparams["limit"])


class PointsModule(LikelihoodModule):
    r"""Maximum likelihood on points: minimises the negative log-likelihood, in nats, of a prior without a Glow.

    Args:
        prior: The density, see :class:`~glow_app.models.points_model.PointsModel`.
        **options: As for :class:`~lightning_modules.likelihood_module.LikelihoodModule`.
    Shape:
        A batch is points, float32 (B, 2).
    """

    metric = "nats"
    model: PointsModel

    def __init__(self, prior: Callable[[tuple[int, int, int], int], Bijection] = GaussianPrior, **options: Any) -> None:
        super().__init__(PointsModel(prior), **options)

    def forward(self, x: Tensor) -> Tensor:
        """Return the negative log-likelihood of each point in nats, (B,)."""
        return self.model(x)

    def initialize(self, batch: Tensor, generator: torch.Generator) -> None:
        """Set the standardisation from a batch."""
        self.model.initialize(batch)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the negative log-likelihood in nats."""
        return self(batch)

    def evaluate(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the negative log-likelihood in nats."""
        return {self.metric: -self.model.log_prob(batch)}


def finish_points(run_dir: Path, data: PointsDataModule) -> None:
    """Print the log-likelihood of the test split, and write pictures of the exported model."""
    if not (run_dir / "model").exists():
        return  # the run stopped before an export
    model = load_density(run_dir / "model")
    assert isinstance(model, PointsModel)
    print(points_report(model, data.hparams, "test"))
    points = data.examples("test").values
    folder = run_dir / "pictures"
    save_picture(density_picture(model, points), folder / "density.png")
    save_picture(samples_picture(model, points), folder / "samples.png")
    save_picture(flow_picture(model), folder / "flow.png")
    print(f"pictures: {folder}/density.png, samples.png (data, model), flow.png (noise to data)")
