"""Prepare the pictures on which the bundled models of photographs are trained, and others on which to try photos.

    apt-get download budgie-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    apt-get download openclipart-png tango-icon-theme papirus-icon-theme
    apt-get download fonts-liberation fonts-open-sans fonts-roboto-unhinted
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
removes the traces of JPEG, some of them darker or softer; of drawings; words of random letters on plain paper and on
photographs; and screens of panels with words and icons. A fifth of them is grey, a twentieth sepia or faded.
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
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from glow_app.data.decoding import photo_of
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
CLEAN, NUM_CLEAN, NUM_TEXTS = 96, 24_000, 2_500  # side of clean crops, and their numbers
DETAILED = 24  # steps to the next pixels to the right and below, grey levels, of a crop that is always written
TRIED_SIZES = (300, 600)
LARGEST = 384  # side of a drawing in memory
LARGEST_FILE = 400_000


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture in RGB."""
    return array_to_image(photo_of(image, [3]).pixels)


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


def colour(rng: random.Random, levels: range) -> tuple[int, ...]:
    """Return a random colour, a third of the time a grey one."""
    return (rng.choice(levels),) * 3 if rng.random() < 1 / 3 else tuple(rng.choices(levels, k=3))


def write_words(picture: Image.Image, rng: random.Random, fonts: Sequence[Path]) -> None:
    """Write lines of words of random letters over a picture, dark where it is light and light where it is dark."""
    is_light = sum(picture.resize((1, 1)).getpixel((0, 0))) > 3 * 128  # type: ignore[arg-type]
    ink = colour(rng, range(rng.choice([1, 110])) if is_light else range(rng.choice([145, 255]), 256))
    font = ImageFont.truetype(rng.choice(fonts), rng.randint(8, 20) if rng.random() < 0.8 else rng.randint(20, 40))
    letters = [string.ascii_lowercase, string.ascii_letters + string.digits + string.punctuation]
    lines = [
        " ".join("".join(rng.choices(letters[rng.random() < 0.2], k=rng.randint(1, 10))) for _ in range(16))
        for _ in range(picture.height // 8)
    ]
    place, outline = (rng.randint(-20, 6), rng.randint(-8, 6)), int(rng.random() < 0.1)
    paper = colour(rng, range(200, 256) if sum(ink) < 3 * 128 else range(56))
    draw, height = ImageDraw.Draw(picture), sum(font.getmetrics()) + rng.randint(0, 8)
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + number * height), line, ink, font, stroke_width=outline, stroke_fill=paper)


def reduced(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return a square of a photograph, reduced 2 to 8 times, which removes the traces of JPEG."""
    side = CLEAN * 2 * min(4, min(image.size) / (2 * CLEAN)) ** rng.random()
    left, top = rng.random() * (image.width - side), rng.random() * (image.height - side)
    box = (left, top, left + side, top + side)
    return image.resize((CLEAN, CLEAN), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def text(photographs: Sequence[Image.Image], rng: random.Random, fonts: Sequence[Path]) -> Image.Image:
    """Return words on plain paper or, half of the time, on a photograph."""
    if rng.random() < 0.5:
        picture = reduced(rng.choice(photographs), rng)
    else:
        levels = rng.choice([range(1), range(80), range(170, 256), range(255, 256)])
        picture = Image.new("RGB", (CLEAN, CLEAN), colour(rng, levels))
    write_words(picture, rng, fonts)
    return picture


def screen(icons: Sequence[Image.Image], rng: random.Random, fonts: Sequence[Path]) -> Image.Image:
    """Return a part of a screen: panels with frames and words, and icons."""
    levels = range(200, 256) if rng.random() < 0.6 else range(70)
    picture = Image.new("RGB", (CLEAN, CLEAN), colour(rng, levels))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(2, 7)):
        left, top = rng.randint(-40, 80), rng.randint(-20, 80)
        right, bottom = left + rng.randint(12, 120), top + rng.randint(12, rng.choice([30, 90]))
        fill = colour(rng, levels if rng.random() < 0.7 else range(256))
        draw.rounded_rectangle((left, top, right, bottom), rng.choice([0, 0, 4, 8]), fill, colour(rng, range(256)))
        inside = (max(left, 0) + 2, max(top, 0) + 2, min(right, CLEAN) - 2, min(bottom, CLEAN) - 2)
        if rng.random() < 0.2:
            icon = rng.choice(icons).resize((rng.choice([16, 24, 32, 48]),) * 2, Image.Resampling.LANCZOS)
            picture.paste(icon, inside[:2], icon)
        elif rng.random() < 0.8 and inside[2] - inside[0] > 8 and inside[3] - inside[1] > 8:
            panel = picture.crop(inside)
            write_words(panel, rng, fonts)
            picture.paste(panel, inside[:2])
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
    """Write crops that are reduced 2 to 8 times, turned and mirrored at random.

    A fifth is made darker, and a tenth as soft as pictures of phones, which are to stay so. Most parts of photographs
    are sky or out of focus: the more detail a crop has, the more often it is written.
    """
    rng = random.Random(folder.name)
    lengths, number = [(image.width * image.height) ** 0.5 for image in images], 0
    while number < count:
        (image,) = rng.choices(images, lengths)
        picture = reduced(image, rng)
        steps = [np.abs(np.diff(np.asarray(picture.convert("L"), float), axis=axis)).mean() for axis in (0, 1)]
        if sum(steps) < DETAILED * rng.random():
            continue
        picture = picture.transpose(rng.choice(list(Image.Transpose)))
        if rng.random() < 0.2:
            picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.15, 1))
        if rng.random() < 0.1:
            picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))
        save_clean(picture, folder, "photograph", number)
        number += 1


def save_clean(picture: Image.Image, folder: Path, kind: str, number: int) -> None:
    """Write a crop, every fifth in grey, and of twenty one in the colours of an old print, which are to stay."""
    if number % 5 == 0:
        picture = picture.convert("L")
    elif number % 20 == 1:
        rng = random.Random(number)
        dark, light = ((rng.randint(10, 80), rng.randint(5, 60), rng.randint(0, 50)), (255, 245, rng.randint(190, 250)))
        sepia = ImageOps.colorize(picture.convert("L"), dark, light)
        picture = Image.blend(picture, sepia, rng.choice([1, rng.random()]))
    save(picture, folder / f"{kind}{number:06d}.png")


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
    files += (share / "backgrounds/budgie").glob("*.jpg")
    photographs = [on_white(Image.open(path)) for path in sorted(files)]
    names = [name for name in SKIMAGE if not args.crops or name not in IN_TABLE]
    photographs += [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]
    others = [path for path in wallpapers if path.name.split("_by_")[0] not in WALLPAPERS]
    clipart = {folder.name: shuffled(folder.rglob("*.png")) for folder in (share / "openclipart/png").iterdir()}
    drawings = [path for name in sorted(clipart.keys() - UNUSED_DRAWINGS - TRIED_DRAWINGS) for path in clipart[name]]
    if args.crops:
        rng, train = random.Random("drawn"), args.output / "train"
        fonts = sorted((Path(matplotlib.get_data_path()) / "fonts/ttf").glob("DejaVuS*[!y].ttf"))  # without Display
        fonts += sorted((share / "fonts/truetype").rglob("*.ttf"))
        small = sorted((share / "icons/Tango").rglob("32x32/*/*.png"))
        small_icons = [Image.open(path).convert("RGBA") for path in small]
        for number, path in enumerate(drawings):
            save_clean(cropped(drawn(path), CLEAN, rng), train, "drawing", number)
        for number in range(NUM_TEXTS):
            save_clean(text(photographs, rng, fonts), train, "text", number)
            save_clean(screen(small_icons, rng, fonts), train, "screen", number)
        write_clean(photographs, NUM_CLEAN, train)
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
    num_learnt = len(other) * 2 // 3
    learnt, held_out = crops(other[:num_learnt], max(TRIED_SIZES)), crops(other[num_learnt:], NUM_VALIDATION)
    write_tried([*learnt, *held_out], "photographs", tried)
    parts = (face_chunks(5, max(TRIED_SIZES), SIZE), face_chunks(6, NUM_VALIDATION, SIZE))
    faces = [array_to_image(face) for part in parts for chunk in part for face in chunk.images]
    write_tried(faces, "faces", tried)
    paths = shuffled(path for name in TRIED_DRAWINGS for path in clipart[name])
    write_tried([whole(drawn(path)) for path in paths], "drawings", tried)
    papirus = shuffled((share / "icons/Papirus/64x64/apps").glob("*.svg"))[: max(TRIED_SIZES) + NUM_VALIDATION]
    write_tried([whole(drawn(path)) for path in papirus], "icons", tried)


if __name__ == "__main__":
    main()
