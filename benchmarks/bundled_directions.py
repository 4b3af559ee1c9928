"""Learn the directions of the bundled clothes model from its training images.

    python benchmarks/bundled_directions.py

Writes glow_app/bundled/fashion-mnist/directions/. Attributes are standardised, so strength 1 is one standard deviation.
All directions are fitted together, so that each changes the other attributes as little as possible.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from glow_app import load_model
from glow_app.data.sources import load_split
from glow_app.models.image_model import ImageModel
from glow_app.pipeline import learn_directions, save_direction

NUM_IMAGES = 12_000
FOLDER = Path(__file__).parents[1] / "glow_app/bundled/fashion-mnist/directions"


def attributes(images: Tensor) -> dict[str, Tensor]:
    """Return the attributes of images (N, 1, H, W), by name."""
    values = images[:, 0].float() / 255
    piece = values > 0.1
    area = piece.sum((1, 2)).clamp(min=1)
    mean = (values * piece).sum((1, 2)) / area
    spread = ((values - mean[:, None, None]).square() * piece).sum((1, 2)) / area
    return {
        "brightness": mean,
        "contrast": spread.sqrt(),
        "width": piece.any(1).sum(1).float(),
        "length": piece.any(2).sum(1).float(),
    }


def main() -> None:
    model = load_model("fashion-mnist")
    assert isinstance(model, ImageModel)
    chosen = load_split("fashion_mnist", "train", model.flow.image_shape, limit=NUM_IMAGES, validation_fraction=0.1)
    images, labels = torch.from_numpy(chosen.images), chosen.labels
    measured = attributes(images)
    table = torch.stack(list(measured.values()), dim=1)
    # Standardised within each class, because the label accounts for differences between classes.
    for label in labels.unique():
        rows = labels == label
        table[rows] = (table[rows] - table[rows].mean(0)) / table[rows].std(0).clamp(min=1e-6)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        yield from zip(images.split(100), table.split(100), labels.split(100), strict=True)

    for name, direction in learn_directions(model, batches(), list(measured)).items():
        print(save_direction(direction, name, model, FOLDER))


if __name__ == "__main__":
    main()
