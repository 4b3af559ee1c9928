"""How well each score of `glow score` finds pictures that are no clothes: the table of docs/find-odd-images.md.

    python docs/example_pictures.py pictures
    python benchmarks/odd_images.py pictures

The figures are those that `glow score --reference pictures/clothes --outliers pictures/KIND` prints, without measuring
the clothes again for each kind.
"""

import argparse
from pathlib import Path

import torch
from common import write_result, write_table

from glow_app.commands.common import picture_batches
from glow_app.generation import ODDITIES, Measures, detect, measure
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import model_hash
from glow_app.storage.stored_model import load_model

KINDS = {
    "digits": "handwritten digits",
    "flat": "flat grey, a different grey per picture",
    "noise": "noise",
    "rotated": "clothes, turned by 90°",
    "faint": "clothes, half as bright",
}


def measured(model: ImageModel, folder: Path) -> Measures:
    """Return what is measured of the pictures of a folder, as by ``glow score``."""
    parts: list[Measures] = []
    for names, images in picture_batches(model, [str(folder)], batch_size=16):
        first = sum(map(len, parts))
        parts.append(measure(model, images, seeds=range(first, first + len(names))))
    return Measures.joined(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of docs/example_pictures.py")
    parser.add_argument("--checkpoint", default="fashion-mnist")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.checkpoint)
    clothes = measured(model, arguments.pictures / "clothes")
    bits = {"clothes": float(clothes.bits_per_dim[::2].mean())}
    auroc = {}
    for kind in KINDS:
        odd = measured(model, arguments.pictures / kind)
        bits[kind] = float(odd.bits_per_dim.mean())
        auroc[kind] = {name: found.auroc for name, found in detect(clothes, odd).items()}
        print(kind, f"{bits[kind]:.3f} bits/dim", auroc[kind], flush=True)
    write_result("odd_images", {"model": model_hash(model), "bits_per_dim": bits, "auroc": auroc})
    rows = [["clothes, others", f"{bits['clothes']:.2f}", *["" for _ in ODDITIES]]]
    for kind, text in KINDS.items():
        values = [f"{auroc[kind][name]:.3f}" for name in ODDITIES]
        rows.append([f"`{kind}`: {text}", f"{bits[kind]:.2f}", *values])
    write_table("odd_images", ["pictures", "bits/dim", *(f"`{name}`" for name in ODDITIES)], rows, "find-odd-images.md")


if __name__ == "__main__":
    main()
