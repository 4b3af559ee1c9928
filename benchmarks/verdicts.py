"""How many pictures `glow score` calls unusual: the table of docs/find-odd-images.md.

    python benchmarks/verdicts.py [--save]

The reference is 1,000 validation images of Fashion-MNIST; judged are test images, and others made of these. ``--save``
writes the reference into the bundled model of clothes, as the end of `glow fit` does for other models.
"""

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from common import write_result, write_table
from PIL import Image, ImageFilter

from glow_app.data import load_split
from glow_app.generation import MANY_ORDINARY, Measures, Reference, measure
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import model_hash, save_reference
from glow_app.storage.stored_model import StoredModel, load_model

MODEL = "fashion-mnist"
SHAPE = (1, 28, 28)
NUM_ODD = 300


def measured(model: ImageModel, images: np.ndarray) -> Measures:
    """Return what is measured of images, as by ``glow score``."""
    parts = torch.from_numpy(np.ascontiguousarray(images)).split(16)
    return Measures.joined(
        [measure(model, part, seeds=range(16 * number, 16 * number + len(part))) for number, part in enumerate(parts)]
    )


def blurred(images: np.ndarray) -> np.ndarray:
    """Return images blurred by a Gaussian of one pixel."""
    return np.stack(
        [np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))[None] for (image,) in images]
    )


def odd_images(clothes: np.ndarray) -> dict[str, np.ndarray]:
    """Return pictures that are no clothes, or clothes as the model has not seen them."""
    rng = np.random.default_rng(0)
    changed: dict[str, Callable[[], np.ndarray]] = {
        "handwritten digits": lambda: load_split("digits", "train", SHAPE, limit=NUM_ODD).images,
        "noise": lambda: rng.integers(0, 256, (NUM_ODD, *SHAPE), np.uint8),
        "flat grey, a different grey per picture": lambda: np.broadcast_to(
            rng.integers(0, 256, (NUM_ODD, 1, 1, 1), np.uint8), clothes.shape
        ),
        "clothes, inverted": lambda: 255 - clothes,
        "clothes, with noise of 15 of 255": lambda: np.clip(clothes + rng.normal(0, 15, clothes.shape), 0, 255).astype(
            np.uint8
        ),
        "clothes, blurred": lambda: blurred(clothes),
        "clothes, turned by 90°": lambda: np.rot90(clothes, axes=(2, 3)),
        "clothes, half as bright": lambda: clothes // 2,
    }
    return {name: make() for name, make in changed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write the reference into the bundled model of clothes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(MODEL)
    reference = Reference.of(
        measured(model, load_split("fashion_mnist", "validation", SHAPE, limit=MANY_ORDINARY).images)
    )
    if arguments.save:
        save_reference(StoredModel(MODEL).path, reference.to_plain())
    test = load_split("fashion_mnist", "test", SHAPE, limit=MANY_ORDINARY + NUM_ODD).images
    kinds = {"clothes, held out": test[:MANY_ORDINARY], **odd_images(test[MANY_ORDINARY:])}
    shares, reasons, rows = {}, {}, []
    for name, images in kinds.items():
        verdicts = reference.judge(measured(model, images))
        odd = [one.reason for one in verdicts if not one.is_usual]
        shares[name], reasons[name] = len(odd) / len(verdicts), dict(Counter(odd).most_common())
        rows.append([name, f"{100 * shares[name]:.1f} %", next(iter(reasons[name]), "")])
        print(*rows[-1], sep=": ", flush=True)
    write_result("verdicts", {"model": model_hash(model), "unusual": shares, "reasons": reasons})
    write_table("verdicts", ["pictures", "unusual", "most often because"], rows, "find-odd-images.md")


if __name__ == "__main__":
    main()
