"""Data module for toy densities and tables."""

from glow_app.data import Split, VectorSet, load_vectors
from lightning_modules.base_data import ResumableDataModule


class VectorDataModule(ResumableDataModule[VectorSet]):
    """Train, validation and test loaders of a toy density or a table.

    The training order is a function of seed and epoch, on any number of ranks and after resuming, also within an
    epoch. Values are not standardised here, so densities refer to the values in the file.

    Args:
        source: "two_moons", "eight_gaussians", "checkerboard", "pinwheel", "rings", "two_spirals" or "table".
        num_features: D, the number of columns; the command line takes it from the model.
        path: The table: a .csv, .tsv, .npy or .npz file.
        batch_size: Training vectors per batch and rank.
        eval_batch_size: Vectors per validation or test batch and rank; ``batch_size`` if None.
        num_workers: Loader processes; 0 is fast enough, as the vectors are in memory.
        seed: Seed of a toy's points, a table's splits and the order.
        num_samples: Number of a toy's training points.
        validation_fraction: Fraction of a table held out for validation, unless the file has splits.
        test_fraction: Fraction of a table held out for testing, unless the file has splits.
        limit: Maximum number of vectors per split.
    Shape:
        Batches are float32 (B, D).
    Raises:
        ValueError: In ``setup`` or when a loader is built, if an argument does not fit the data.
        FileNotFoundError: In ``setup``, if the file does not exist.
    """

    def __init__(
        self,
        source: str = "eight_gaussians",
        num_features: int = 2,
        path: str | None = None,
        batch_size: int = 512,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        num_samples: int = 50_000,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        path = None if path is None else str(path)  # plain types only: these go into every checkpoint
        self.save_hyperparameters()

    def _load(self, split: Split) -> VectorSet:
        names = ("path", "seed", "num_samples", "validation_fraction", "test_fraction", "limit")
        source, path, expected = (self.hparams[name] for name in ("source", "path", "num_features"))
        vectors = load_vectors(source, split, **{name: self.hparams[name] for name in names})
        num_columns = vectors.values.shape[1]
        if num_columns != expected:
            raise ValueError(
                f"{path or source} has {num_columns} columns, not num_features {expected}; "
                f"set model.num_features to {num_columns}"
            )
        return vectors
