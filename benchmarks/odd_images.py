"""Test how well `glow score` finds pictures other than clothes: the table of docs/find-odd-images.md.

    python benchmarks/odd_images.py [--save]

The verdicts compare with 1,000 validation images of Fashion-MNIST, which `glow fit --config fashion_mnist
--data.download true` downloads. ``--save`` stores these statistics in the bundled clothes model, as `glow fit` does at
its end for other models.
"""

import argparse
from collections import Counter

import numpy as np
import torch
from common import write_result, write_table
from PIL import Image, ImageFilter

from glow_app.data.sources import load_split
from glow_app.models.image_model import ImageModel
from glow_app.pipeline import MANY_ORDINARY, Measures, Reference, measure
from glow_app.storage.pretrained import save_reference
from glow_app.storage.stored_model import StoredModel, load_model

MODEL = "fashion-mnist"
SHAPE = (1, 28, 28)
NUM_ODD = 300


def measured(model: ImageModel, images: np.ndarray) -> Measures:
    """Measure images as ``glow score`` does."""
    parts = torch.from_numpy(np.ascontiguousarray(images)).split(16)
    return Measures.joined(
        [measure(model, part, seeds=range(16 * number, 16 * number + len(part))) for number, part in enumerate(parts)]
    )


def blurred(images: np.ndarray) -> np.ndarray:
    """Return images blurred by a Gaussian with a radius of one pixel."""
    return np.stack(
        [np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))[None] for (image,) in images]
    )


def odd_images(clothes: np.ndarray) -> dict[str, np.ndarray]:
    """Return pictures of other things, and clothes changed in ways that the model has not seen."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (NUM_ODD, *SHAPE), np.uint8)
    grey = rng.integers(0, 256, (NUM_ODD, 1, 1, 1), np.uint8)
    return {
        "handwritten digits": load_split("digits", "train", SHAPE, limit=NUM_ODD).images,
        "noise": noise,
        "flat grey, a different grey per picture": np.broadcast_to(grey, clothes.shape),
        "clothes, inverted": 255 - clothes,
        "clothes, with noise of 15 of 255": (clothes + rng.normal(0, 15, clothes.shape)).clip(0, 255).astype(np.uint8),
        "clothes, blurred": blurred(clothes),
        "clothes, turned by 90°": np.rot90(clothes, axes=(2, 3)),
        "clothes, half as bright": clothes // 2,
    }


def verdicts(model: ImageModel, save: bool) -> None:
    """Measure bits/dim of pictures of each kind, and count how many are called unusual."""
    ordinary = load_split("fashion_mnist", "validation", SHAPE, limit=MANY_ORDINARY).images
    reference = Reference.of(measured(model, ordinary))
    if save:
        save_reference(StoredModel(MODEL).path, reference.to_plain())
    test = load_split("fashion_mnist", "test", SHAPE, limit=MANY_ORDINARY + NUM_ODD).images
    bits, shares, reasons, rows = {}, {}, {}, []
    for name, images in {"clothes, held out": test[:MANY_ORDINARY], **odd_images(test[MANY_ORDINARY:])}.items():
        measures = measured(model, images)
        judged = reference.judge(measures)
        odd = [one.reason for one in judged if one.verdict == "unusual"]
        bits[name] = float(measures.bits_per_dim.mean())
        shares[name], reasons[name] = len(odd) / len(judged), dict(Counter(odd).most_common())
        rows.append([name, f"{bits[name]:.2f}", f"{100 * shares[name]:.1f} %", next(iter(reasons[name]), "")])
    write_result("verdicts", {"model": model.hash, "bits_per_dim": bits, "unusual": shares, "reasons": reasons})
    write_table("verdicts", ["pictures", "bits/dim", "unusual", "most common reason"], rows, "find-odd-images.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="store the statistics in the bundled clothes model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(MODEL)
    verdicts(model, arguments.save)


if __name__ == "__main__":
    main()
