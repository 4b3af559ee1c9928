"""Draw a sheet of faces that are asked for: a row of each wish, beside its words.

    python docs/wishes.py wishes.webp
    python docs/wishes.py wishes.webp --checkpoint RUN --guidance 2

Each column has the same noise. Attributes of which a wish says nothing are drawn.
"""

import argparse
import re

from glow_app import load_model
from glow_app.pictures.images import picture_of_rows

WISHES = [
    "smiling, glasses, hat=0",
    "smiling=0, sunglasses, hat",
    "beard, hat=0, hair_lightness=0.1",
    "long_hair, beard=0, hair_lightness=0.8",
    "smiling, eyes_closed, long_hair",
    "hat, beard, glasses",
    "glasses=0, sunglasses=0, hat=0, long_hair=0",
    "smiling, background_hue=0.6, clothes_lightness=0.2",
]
NUM_COLUMNS = 6


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--checkpoint", default="faces")
    parser.add_argument("--guidance", type=float, help="default: the model's recommendation")
    arguments = parser.parse_args()
    model = load_model(arguments.checkpoint)
    rows = [model.sample(NUM_COLUMNS, seeds=0, given=wish, guidance=arguments.guidance) for wish in WISHES]
    words = [re.sub(r"(\w+)=0(,|$)", r"no \1\2", wish).replace("=", " ") for wish in WISHES]
    picture_of_rows(rows, left=words).save(arguments.output, lossless=True)


if __name__ == "__main__":
    main()
