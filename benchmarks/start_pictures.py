"""Prepare the pictures on which the bundled models of photographs are trained, and others on which to try photos.

    apt-get download budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    apt-get download openclipart-png tango-icon-theme papirus-icon-theme
    for package in *.deb; do dpkg-deb -x $package packages; done
    python benchmarks/start_pictures.py packages --cifar cifar10_jpeg_train.zip --output pictures
    python benchmarks/start_pictures.py packages --crops --output crops

``large/train`` and ``large/validation`` get crops of photographs at scales from 1:1 to the whole, drawings and icons,
256x256; ``small`` gets the same at 32x32, and CIFAR-10 (JPEG copy) without horses. The cards of the models name authors
and licences. ``test`` gets crops of other photographs. ``tried`` gets pictures of kinds that are in none of them:
horses of CIFAR-10 at 32x32, and at 256x256 rendered faces, drawings of animals, people and vehicles, icons of another
theme, and crops of other photographs. Each has folders of 300 and 600 pictures to learn from, beside the same 300 for
validation.

With ``--crops``, for the models that restore, ``train`` has crops of 96x96: of photographs, reduced 2 to 8 times, which
removes the traces of JPEG, and a fifth of them grey; of drawings; and random words in the fonts of matplotlib.
``validation`` is of other photographs. Neither are those of ``photographs.py``, nor HELD_OUT.
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
KINDS = {"photographs": (6_000, 0.0), "drawings": (4_000, 0.5), "icons": (1_500, 0.7)}
SIZE, SMALL = 256, 32
NUM_VALIDATION = 300
NUM_CLEAN = 30_000  # crops of 96x96
DETAILED = 24  # steps to the next pixels to the right and below, grey levels, of a crop that is always written
TRIED_SIZES = (300, 600)
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
        path.with_suffix(".png").write_bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=SIZE, height=SIZE))
        path = path.with_suffix(".png")
    image = Image.open(path)
    image.thumbnail((LARGEST, LARGEST))
    return on_white(image)


def whole(image: Image.Image) -> Image.Image:
    """Return a picture padded with white to a square."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


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


def write_kind(images: Sequence[Image.Image], kind: str, folder: Path) -> None:
    """Write the pictures of a kind to ``train`` and ``validation``, large and small."""
    rng = random.Random(kind)
    count, share = KINDS[kind]
    number = 0
    while number < count:
        image = rng.choice(images)
        picture = whole(image) if rng.random() < share else cropped(image, SIZE, rng)
        if is_flat(picture) and rng.random() < 0.8:
            continue
        name = f"{'validation' if number < NUM_VALIDATION else 'train'}/{kind}/{number:06d}.png"
        save(picture, folder / "large" / name)
        save(picture.resize((SMALL, SMALL), Image.Resampling.BOX), folder / "small" / name)
        number += 1


def crops(images: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """Return crops of some photographs."""
    rng = random.Random("crops")
    return [cropped(rng.choice(images), SIZE, rng) for _ in range(count)]


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


def write_cifar(archive: zipfile.ZipFile, output: Path) -> None:
    """Write the horses, of which numbers 600 to 899 are held out, to ``tried``, and all others to be trained on."""
    names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
    horses = [name for name in names if "/horse/" in name][: max(TRIED_SIZES) + NUM_VALIDATION]
    write_tried([Image.open(archive.open(name)) for name in horses], "horses", output / "tried")
    others = [name for name in names if "/horse/" not in name]
    for number, name in enumerate(random.Random(0).sample(others, len(others))):
        split = "validation" if number < NUM_VALIDATION else "train"
        save(Image.open(archive.open(name)), output / f"small/{split}/cifar10/{number:06d}.png")


def shuffled(paths: Iterable[Path]) -> list[Path]:
    """Return files in a fixed random order, without links and the few of a hundred million pixels."""
    files = sorted(path for path in paths if not path.is_symlink() and path.stat().st_size < LARGEST_FILE)
    random.Random(0).shuffle(files)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="where the Debian packages were unpacked")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 (JPEG copy): a zip file of train/CLASS/N.jpg")
    parser.add_argument("--crops", action="store_true", help="crops for the models that restore")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    share = args.packages / "usr/share"
    wallpapers = sorted((share / "backgrounds").glob("*.jpg"))
    files = [path for path in wallpapers if path.name.split("_by_")[0] in WALLPAPERS]
    photographs = [
        on_white(Image.open(path)) for path in sorted([*files, *(share / "backgrounds/budgie").glob("*.jpg")])
    ]
    names = [name for name in SKIMAGE if not args.crops or name not in IN_TABLE]
    photographs += [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]
    others = [path for path in wallpapers if path not in files]
    clipart = {folder.name: shuffled(folder.rglob("*.png")) for folder in (share / "openclipart/png").iterdir()}
    drawings = [path for name in sorted(clipart.keys() - UNUSED_DRAWINGS - TRIED_DRAWINGS) for path in clipart[name]]
    if args.crops:
        write_clean(photographs, NUM_CLEAN, args.output / "train")
        write_drawn(drawings, args.output / "train")
        others = [path for path in others if path.name.split("_by_")[0] not in HELD_OUT]
        write_clean([Image.open(path) for path in others], NUM_VALIDATION, args.output / "validation")
        return
    icons = shuffled(path for path in (share / "icons/Tango").rglob("scalable/*/*.svg") if path.stem != NOT_FREE)
    write_kind(photographs, "photographs", args.output)
    write_kind([drawn(path) for path in drawings], "drawings", args.output)
    write_kind([drawn(path) for path in icons], "icons", args.output)
    with zipfile.ZipFile(args.cifar) as archive:
        write_cifar(archive, args.output)
    tried = args.output / "tried"
    other = [on_white(Image.open(path)) for path in others]
    for number, picture in enumerate(crops(other, NUM_VALIDATION)):
        save(picture, args.output / f"test/{number:05d}.png")
    learnt, held_out = (
        crops(other[: len(other) * 2 // 3], max(TRIED_SIZES)),
        crops(other[len(other) * 2 // 3 :], NUM_VALIDATION),
    )
    write_tried([*learnt, *held_out], "photographs", tried)
    faces = [face for chunk in face_chunks(5, max(TRIED_SIZES), SIZE) for face in chunk.images]
    faces += [face for chunk in face_chunks(6, NUM_VALIDATION, SIZE) for face in chunk.images]
    write_tried([array_to_image(face) for face in faces], "faces", tried)
    paths = shuffled(path for name in TRIED_DRAWINGS for path in clipart[name])
    write_tried([whole(drawn(path)) for path in paths], "drawings", tried)
    papirus = shuffled((share / "icons/Papirus/64x64/apps").glob("*.svg"))[: max(TRIED_SIZES) + NUM_VALIDATION]
    write_tried([whole(drawn(path)) for path in papirus], "icons", tried)


if __name__ == "__main__":
    main()
