"""Measure how well the bundled models restore whole photographs: a table and a figure of docs/restore.md, and README's.

    python benchmarks/photographs.py

The photographs are part of scikit-image and scikit-learn (extras ``bench`` and ``demo``); no model was trained on them.
They are reduced to half their width and height, compressed as JPEG with quality 20, or get noise of 25 grey levels.
They are then restored by one draw at temperature 0 and one at 0.7.
"""

import argparse

import numpy as np
import skimage.data
import torch
from common import DOCS, write_result, write_table
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from glow_app import load_model
from glow_app.restoration import Deblock, Denoise, RestorationTask, Upscale, psnr, restore

TASKS: dict[str, RestorationTask] = {
    "photos-upscale2": Upscale(2),
    "photos-deblock": Deblock(20, 20),
    "photos-denoise": Denoise(25, 25),
}
# Of a photograph and a model: the file of the figure, and the rows and columns in it.
FIGURES = {
    ("coffee", "photos-upscale2"): ("restore-coffee.png", (slice(200, 392), slice(270, 462))),
    ("cat", "photos-denoise"): ("restore-cat.webp", (slice(40, 280), slice(120, 360))),
}


def photographs() -> dict[str, Tensor]:
    """Return photographs cropped to even sides, uint8 (3, H, W), by name."""
    pictures = {name: getattr(skimage.data, name)() for name in ("astronaut", "cat", "coffee", "rocket")}
    pictures |= {"dahlia": load_sample_image("flower.jpg"), "pagoda": load_sample_image("china.jpg")}
    even = {name: picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2] for name, picture in pictures.items()}
    return {name: torch.from_numpy(picture.copy()).permute(2, 0, 1) for name, picture in even.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    models = {name: load_model(name).freeze() for name in TASKS}
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for name, truth in photographs().items():
        measured[name] = {}
        for place, task in TASKS.items():
            damaged = task.damage(truth[None], torch.Generator().manual_seed(0))[0]
            certain, drawn = (restore(models[place], damaged, 1, temperature, seeds=0) for temperature in (0.0, 0.7))
            pictures = {"base": certain.base, "T = 0": certain.draws[0], "T = 0.7": drawn.draws[0]}
            measured[name][place] = {kind: float(psnr(one[None], truth[None])) for kind, one in pictures.items()}
            if (name, place) in FIGURES:
                file, part = FIGURES[name, place]
                parts = [each[:, *part].permute(1, 2, 0) for each in (certain.base, certain.draws[0], truth)]
                white = torch.full((len(parts[0]), 16, 3), 255, dtype=torch.uint8)
                shown = torch.cat([parts[0], white, parts[1], white, parts[2]], dim=1)
                Image.fromarray(np.asarray(shown)).save(DOCS / "images" / file, optimize=True, quality=90)
    write_result("photographs", {"photographs": measured})
    bases = ("bicubic", "JPEG, quality 20", "noisy")
    head = ["photograph", *(word for kind in bases for word in (kind, "T = 0", "T = 0.7"))]
    rows = [
        [name, *(f"{value:.2f}" for place in TASKS for value in of[place].values())] for name, of in measured.items()
    ]
    write_table("photographs", head, rows, "restore.md")


if __name__ == "__main__":
    main()
