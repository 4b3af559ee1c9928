"""Write the example pictures of the pages of docs/: clothes, digits, grey squares, shirts and photographs.

    python docs/example_pictures.py pictures
    python docs/example_pictures.py pictures --photos  # only the photographs, without a download

The clothes are test images of Fashion-MNIST (Zalando, MIT licence), downloaded on first use. The digits are those of
scikit-learn (UCI, CC BY 4.0; extra ``demo``), enlarged to 28x28. The photographs are parts of an example image of
scikit-learn, a dahlia by vultilion (CC BY 2.0). The rest is made from these or from a seed.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from glow_app.data.sources import load_split

SHAPE = (1, 28, 28)
NUM_CLOTHES, NUM_ODD, NUM_SORTED = 1000, 500, 200


def write(folder: Path, images: np.ndarray, names: list[str] | None = None) -> None:
    """Write uint8 images (N, 1, H, W) to numbered files."""
    folder.mkdir(parents=True)
    for number, (image,) in enumerate(images):
        name = "" if names is None else f"_{names[number]}"
        Image.fromarray(image).save(folder / f"{number:04d}{name}.png")


def write_shirts(folder: Path) -> None:
    """Write plain and patterned T-shirts, the training images with the fewest and the most edges, into two folders."""
    train = load_split("fashion_mnist", "train", SHAPE, limit=20_000, download=True)
    shirts = train.images[train.labels.numpy() == train.class_names.index("T-shirt/top")]
    inside = shirts[:, 0, 6:24, 9:19].astype(float)
    edges = np.abs(np.diff(inside, axis=1)).mean((1, 2))
    order = edges.argsort()
    write(folder / "plain", shirts[order[:NUM_SORTED]])
    write(folder / "striped", shirts[order[-NUM_SORTED:]])


def write_photos(folder: Path) -> None:
    """Write two parts of a photograph."""
    folder.mkdir(parents=True)
    dahlia = load_sample_image("flower.jpg")
    Image.fromarray(dahlia[150:250, 254:354]).save(folder / "dahlia.png")
    Image.fromarray(dahlia[90:190, 160:260]).save(folder / "petals.png")


def main() -> None:
    """Write all folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to create")
    parser.add_argument("--photos", action="store_true", help="write only the photographs, without a download")
    arguments = parser.parse_args()
    folder = arguments.folder
    write_photos(folder / "photos")
    if arguments.photos:
        return
    test = load_split("fashion_mnist", "test", SHAPE, limit=NUM_CLOTHES, download=True)
    kinds = [test.class_names[label].split("/")[0].lower().replace(" ", "-") for label in test.labels]
    write(folder / "clothes", test.images, kinds)
    write(folder / "digits", load_split("digits", "train", SHAPE, limit=NUM_ODD).images)
    grey = np.random.default_rng(0).integers(0, 256, (NUM_ODD, 1, 1, 1), np.uint8)
    grey[0] = 0  # the most likely picture of all
    write(folder / "flat", np.broadcast_to(grey, (NUM_ODD, *SHAPE)))
    write_shirts(folder)
    print(", ".join(f"{place}: {len(list(place.iterdir()))}" for place in sorted(folder.iterdir())))


if __name__ == "__main__":
    main()
