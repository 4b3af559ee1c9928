"""Test how well `glow score` finds pictures other than clothes: both tables of docs/find-odd-images.md.

    python docs/example_pictures.py pictures
    python benchmarks/odd_images.py pictures [--save]

The figures are those of ``glow score --reference pictures/clothes --outliers pictures/KIND``. The verdicts compare
with 1,000 validation images of Fashion-MNIST. ``--save`` stores these statistics in the bundled clothes model, as
`glow fit` does at its end for other models.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from common import write_result, write_table
from PIL import Image, ImageFilter

from glow_app.commands.input_pictures import given_batches
from glow_app.data.sources import load_split
from glow_app.generation import MANY_ORDINARY, ODDITIES, Measures, Reference, detect, measure
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import save_reference
from glow_app.storage.stored_model import StoredModel, load_model, model_hash

MODEL = "fashion-mnist"
SHAPE = (1, 28, 28)
NUM_ODD = 300
KINDS = {
    "digits": "handwritten digits",
    "flat": "flat grey, a different grey per picture",
    "noise": "noise",
    "rotated": "clothes, turned by 90°",
    "faint": "clothes, half as bright",
}


def pictures_of(model: ImageModel, folder: Path) -> np.ndarray:
    """Return the pictures of a folder, as `glow score` reads them."""
    batches = given_batches(model, [str(folder)], None, 16, "reading", infers=False)
    return np.concatenate([images.numpy() for _, images, _ in batches])


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


def scores(model: ImageModel, pictures: Path) -> None:
    """Measure the AUROC of each score on each kind of picture."""
    clothes = measured(model, pictures_of(model, pictures / "clothes"))
    bits = {"clothes": float(clothes.bits_per_dim[::2].mean())}
    auroc = {}
    rows = [["clothes, others", f"{bits['clothes']:.2f}", *["" for _ in ODDITIES]]]
    for kind, text in KINDS.items():
        odd = measured(model, pictures_of(model, pictures / kind))
        bits[kind] = float(odd.bits_per_dim.mean())
        auroc[kind] = {name: found.auroc for name, found in detect(clothes, odd).items()}
        values = [f"{auroc[kind][name]:.3f}" for name in ODDITIES]
        rows.append([f"`{kind}`: {text}", f"{bits[kind]:.2f}", *values])
    write_result("odd_images", {"model": model_hash(model), "bits_per_dim": bits, "auroc": auroc})
    write_table("odd_images", ["pictures", "bits/dim", *(f"`{name}`" for name in ODDITIES)], rows, "find-odd-images.md")


def verdicts(model: ImageModel, save: bool) -> None:
    """Count how many pictures of each kind are called unusual."""
    ordinary = load_split("fashion_mnist", "validation", SHAPE, limit=MANY_ORDINARY).images
    reference = Reference.of(measured(model, ordinary))
    if save:
        save_reference(StoredModel(MODEL).path, reference.to_plain())
    test = load_split("fashion_mnist", "test", SHAPE, limit=MANY_ORDINARY + NUM_ODD).images
    shares, reasons, rows = {}, {}, []
    for name, images in {"clothes, held out": test[:MANY_ORDINARY], **odd_images(test[MANY_ORDINARY:])}.items():
        found = reference.judge(measured(model, images))
        odd = [one.reason for one in found if one.verdict == "unusual"]
        shares[name], reasons[name] = len(odd) / len(found), dict(Counter(odd).most_common())
        rows.append([name, f"{100 * shares[name]:.1f} %", next(iter(reasons[name]), "")])
    write_result("verdicts", {"model": model_hash(model), "unusual": shares, "reasons": reasons})
    write_table("verdicts", ["pictures", "unusual", "most common reason"], rows, "find-odd-images.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder written by docs/example_pictures.py")
    parser.add_argument("--save", action="store_true", help="store the statistics in the bundled clothes model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(MODEL)
    scores(model, arguments.pictures)
    verdicts(model, arguments.save)


if __name__ == "__main__":
    main()
