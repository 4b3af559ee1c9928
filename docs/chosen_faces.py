"""Draw a sheet of faces with chosen attributes: a row for each choice, beside its words.

    python docs/chosen_faces.py chosen.webp
    python docs/chosen_faces.py chosen.webp --checkpoint RUN --guidance 2

Each column has the same noise. Attributes that are not chosen are drawn.
"""

import argparse
import re

from glow_app import load_model
from glow_app.pictures.images import picture_of_rows

CHOICES = [
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
SIZE = (128, 128)


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--checkpoint", default="faces")
    parser.add_argument("--guidance", type=float, help="default: the model's recommendation")
    arguments = parser.parse_args()
    model = load_model(arguments.checkpoint)
    rows = [
        model.sample(NUM_COLUMNS, seeds=0, given=choice, guidance=arguments.guidance, size=SIZE) for choice in CHOICES
    ]
    words = [re.sub(r"(\w+)=0(,|$)", r"no \1\2", choice).replace("=", " ") for choice in CHOICES]
    picture_of_rows(rows, left=words).save(arguments.output, quality=90)


if __name__ == "__main__":
    main()
