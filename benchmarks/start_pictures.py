"""Prepare the pictures on which the bundled models of photographs are trained, and others on which to try photos32.

    apt-get download budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    apt-get download openclipart-png tango-icon-theme papirus-icon-theme
    for package in *.deb; do dpkg-deb -x $package packages; done
    python benchmarks/start_pictures.py packages --cifar cifar10_jpeg_train.zip --size 32 --output pictures
    python benchmarks/start_pictures.py packages --size 96 --output crops

``train`` and ``validation`` get crops of photographs at scales from 1:1 to the whole, drawings, icons and, at 32x32,
CIFAR-10 (JPEG copy) without horses. The cards of the models name authors and licences. ``test`` gets crops of other
photographs. ``tried`` gets four kinds of pictures that are in none of them: horses of CIFAR-10, rendered faces,
drawings of animals, people and vehicles, and icons of another theme. Each has folders of 50 to 3,000 pictures to learn
from, beside the same 300 for validation.

At size 96, for the models that restore, ``train`` has crops of photographs, reduced 2 to 8 times, which removes the
traces of JPEG, and a fifth of them grey; crops of drawings; and random words in the fonts of matplotlib. ``validation``
is of other photographs. Neither are those of ``photographs.py``, nor HELD_OUT.
"""

import argparse
import random
import string
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import resvg_py
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from glow_app.data.faces.rendered import face_chunks
from glow_app.data.resizing import array_to_image

WALLPAPERS = {"aitzgorri", "Picture_0B", "Picture_1A", "seeding", "sunset", "umang"}  # CC BY 4.0 or CC0 1.0
SKIMAGE = ["astronaut", "brick", "camera", "cat", "coffee", "grass", "gravel", "hubble_deep_field"]
SKIMAGE += ["moon", "retina", "rocket"]
IN_TABLE = {"astronaut", "cat", "coffee", "rocket"}  # of photographs.py
HELD_OUT = {"Bridge", "Dragonfly", "Kleiber", "Wine", "friends", "life", "picosdeeuropa"}
NOT_FREE = "application-pdf"  # of the icons, which is under the LGPL
UNUSED_DRAWINGS = {"buttons", "computer", "logos", "shapes", "special"}
TRIED_DRAWINGS = {"animals", "people", "transportation"}
# The number of pictures of each kind, and the share that is shown whole, on white, and not cropped.
KINDS = {"photographs": (42_000, 0.0), "drawings": (9_000, 0.5), "icons": (3_000, 0.7)}
NUM_VALIDATION = 300
NUM_CLEAN = 30_000  # crops of 96x96
DETAILED = 24  # steps to the next pixels to the right and below, grey levels, of a crop that is always written
TRIED_SIZES = (50, 200, 600, 3000)
LARGEST = 384  # side of a drawing in memory
LARGEST_FILE = 400_000


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture in RGB."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def drawn(path: Path) -> Image.Image:
    """Return a drawing or an icon, from a PNG or SVG file."""
    if path.suffix == ".svg":
        path.with_suffix(".png").write_bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=128, height=128))
        path = path.with_suffix(".png")
    image = Image.open(path)
    image.thumbnail((LARGEST, LARGEST))
    return on_white(image)


def whole(image: Image.Image, size: int) -> Image.Image:
    """Return a picture padded with white to a square, at a size."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, size: int, rng: random.Random) -> Image.Image:
    """Return a square of a picture, of a random place and scale, larger ones more often."""
    short = min(image.size)
    smallest = min(size, short)
    side = smallest * (short / smallest) ** (rng.random() ** 0.7)
    left, top = rng.random() * (image.width - side), rng.random() * (image.height - side)
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def is_flat(image: Image.Image) -> bool:
    """Return whether there is little to see."""
    return all(highest - lowest < 24 for lowest, highest in image.getextrema())  # type: ignore[misc]


def text(size: int, rng: random.Random) -> Image.Image:
    """Return random words in a random font: half of them black on white or the reverse, half in similar colours."""
    levels: list[Sequence[int]] = [range(86), range(170, 256)] if rng.random() < 0.5 else [[0], [255]]
    ink, paper = (tuple(rng.choices(each, k=3)) for each in rng.sample(levels, 2))
    fonts = sorted(
        (Path(matplotlib.get_data_path()) / "fonts/ttf").glob("DejaVuS*[!y].ttf")
    )  # without the Display ones
    font = ImageFont.truetype(rng.choice(fonts), rng.randint(9, 36))
    words = ["".join(rng.choices(string.ascii_letters + string.digits, k=rng.randint(1, 9))) for _ in range(400)]
    picture = Image.new("RGB", (size, size), paper)
    lines = "\n".join(" ".join(words[start : start + 20]) for start in range(0, len(words), 20))
    ImageDraw.Draw(picture).multiline_text((-rng.randrange(size), -rng.randrange(size)), lines, ink, font)
    return picture


def write_kind(images: Sequence[Image.Image], kind: str, size: int, folder: Path) -> None:
    """Write the pictures of a kind to ``train`` and ``validation``."""
    rng = random.Random(kind)
    count, share = KINDS[kind]
    number = 0
    while number < count:
        image = rng.choice(images)
        picture = whole(image, size) if rng.random() < share else cropped(image, size, rng)
        if is_flat(picture) and rng.random() < 0.8:
            continue
        split = "validation" if number < NUM_VALIDATION else "train"
        save(picture, folder / split / kind / f"{number:06d}.png")
        number += 1


def write_test(images: Sequence[Image.Image], size: int, folder: Path) -> None:
    """Write crops to ``test``."""
    rng = random.Random("test")
    for number in range(NUM_VALIDATION):
        save(cropped(rng.choice(images), size, rng), folder / f"test/photographs/{number:06d}.png")


def write_clean(images: Sequence[Image.Image], count: int, folder: Path) -> None:
    """Write crops that are reduced 2 to 8 times, turned and mirrored at random; every fifth is grey.

    Most parts of photographs are sky or out of focus: the more detail a crop has, the more often it is written.
    """
    rng = random.Random(folder.name)
    lengths, number = [(image.width * image.height) ** 0.5 for image in images], 0
    while number < count:
        (image,) = rng.choices(images, lengths)
        side = 96 * 2 * min(4, min(image.size) / 192) ** rng.random()
        left, top = rng.random() * (image.width - side), rng.random() * (image.height - side)
        box = (left, top, left + side, top + side)
        picture = image.resize((96, 96), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
        steps = [np.abs(np.diff(np.asarray(picture.convert("L"), float), axis=axis)).mean() for axis in (0, 1)]
        if sum(steps) < DETAILED * rng.random():
            continue
        picture = picture.transpose(rng.choice(list(Image.Transpose)))
        save(picture if number % 5 else picture.convert("L"), folder / f"{number:06d}.png")
        number += 1


def write_drawn(paths: Sequence[Path], folder: Path) -> None:
    """Write a crop of each drawing, and as many pictures of text."""
    rng = random.Random("drawn")
    for number, path in enumerate(paths):
        save(cropped(drawn(path), 96, rng), folder / f"drawing{number:06d}.png")
        save(text(96, rng), folder / f"text{number:06d}.png")


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG file, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=1)


def write_tried(pictures: Sequence[Image.Image], kind: str, folder: Path) -> None:
    """Write a folder for each number of pictures to learn from; the last pictures are held out in all of them."""
    held_out = pictures[-NUM_VALIDATION:]
    for size in TRIED_SIZES:
        if size <= len(pictures) - NUM_VALIDATION:
            for split, part in {"train": pictures[:size], "validation": held_out}.items():
                for number, picture in enumerate(part):
                    save(picture, folder / kind / str(size) / split / f"{number:05d}.png")


def write_cifar(archive: zipfile.ZipFile, output: Path, tried: Path) -> None:
    """Write the horses, of which numbers 600 to 899 are held out, to ``tried``, and all others to be trained on."""
    names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
    horses = [name for name in names if "/horse/" in name][: max(TRIED_SIZES) + NUM_VALIDATION]
    order = [*horses[:600], *horses[900:], *horses[600:900]]
    write_tried([Image.open(archive.open(name)) for name in order], "horses", tried)
    others = [name for name in names if "/horse/" not in name]
    for number, name in enumerate(random.Random(0).sample(others, len(others))):
        split = "validation" if number < NUM_VALIDATION else "train"
        save(Image.open(archive.open(name)), output / split / "cifar10" / f"{number:06d}.png")


def shuffled(paths: Iterable[Path]) -> list[Path]:
    """Return files in a fixed random order, without links and the few of a hundred million pixels."""
    files = sorted(path for path in paths if not path.is_symlink() and path.stat().st_size < LARGEST_FILE)
    random.Random(0).shuffle(files)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="where the Debian packages were unpacked")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 (JPEG copy), for size 32: a zip file of train/CLASS/N.jpg")
    parser.add_argument("--size", type=int, choices=(32, 64, 96), required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    share = args.packages / "usr/share"
    wallpapers = sorted((share / "backgrounds").glob("*.jpg"))
    files = [path for path in wallpapers if path.name.split("_by_")[0] in WALLPAPERS]
    photographs = [
        on_white(Image.open(path)) for path in sorted([*files, *(share / "backgrounds/budgie").glob("*.jpg")])
    ]
    names = [name for name in SKIMAGE if args.size < 96 or name not in IN_TABLE]
    photographs += [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]
    others = [path for path in wallpapers if path not in files]
    clipart = {folder.name: shuffled(folder.rglob("*.png")) for folder in (share / "openclipart/png").iterdir()}
    drawings = [path for name in sorted(clipart.keys() - UNUSED_DRAWINGS - TRIED_DRAWINGS) for path in clipart[name]]
    if args.size == 96:
        write_clean(photographs, NUM_CLEAN, args.output / "train")
        write_drawn(drawings, args.output / "train")
        others = [path for path in others if path.name.split("_by_")[0] not in HELD_OUT]
        write_clean([Image.open(path) for path in others], NUM_VALIDATION, args.output / "validation")
        return
    write_test([Image.open(path) for path in others], args.size, args.output)
    icons = shuffled(path for path in (share / "icons/Tango").rglob("scalable/*/*.svg") if path.stem != NOT_FREE)
    write_kind(photographs, "photographs", args.size, args.output)
    write_kind([drawn(path) for path in drawings], "drawings", args.size, args.output)
    write_kind([drawn(path) for path in icons], "icons", args.size, args.output)
    tried = args.output / "tried"
    if args.size == 32:
        with zipfile.ZipFile(args.cifar) as archive:
            write_cifar(archive, args.output, tried)
    faces = [face for chunk in face_chunks(5, max(TRIED_SIZES), args.size) for face in chunk.images]
    faces += [face for chunk in face_chunks(6, NUM_VALIDATION, args.size) for face in chunk.images]
    write_tried([array_to_image(face) for face in faces], "faces", tried)
    paths = shuffled(path for name in TRIED_DRAWINGS for path in clipart[name])
    write_tried([whole(drawn(path), args.size) for path in paths], "drawings", tried)
    papirus = shuffled((share / "icons/Papirus/64x64/apps").glob("*.svg"))[: max(TRIED_SIZES) + NUM_VALIDATION]
    write_tried([whole(drawn(path), args.size) for path in papirus], "icons", tried)


if __name__ == "__main__":
    main()
