"""Render faces from the drawings of ``python-avatars``.

The files are read and combined here instead of by the package, which draws either hair or a hat, gives masks of
different parts the same name, and parses the files again for every image.
"""

import io
from collections.abc import Sequence
from functools import cache
from importlib.metadata import distribution
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from glow_app.data.faces import colours
from glow_app.data.faces.face import Face

# Increase when the face of a seed and index changes.
DRAWING_VERSION = 1

_SMILES = ["smile", "twinkle", "big_smile"]
_OTHER_MOUTHS = ["serious", "concerned", "default", "disbelief", "sad"]
_OPEN_EYES = ["default", "default", "side", "squint", "surprised"]
_CLOSED_EYES = ["closed", "happy"]
_NOSES = ["default", "small", "wide"]
_EYEBROWS = [
    "default", "default_natural", "flat_natural", "frown_natural", "raised_excited", "raised_excited_natural",
    "sad_concerned", "sad_concerned_natural", "up_down", "up_down_natural",
]  # fmt: skip
_SHORT_HAIR = [
    "buzzcut", "caesar", "caesar_side_part", "frizzle", "fro", "mohawk", "mowgli", "pixie", "pompadour", "quiff",
    "short_curly", "short_dreads_1", "short_dreads_2", "short_flat", "short_round", "short_waved", "sides", "elvis",
]  # fmt: skip
_LONG_HAIR = [
    "big_hair", "bob", "curvy", "dreads", "long_not_too_long", "loose_hair",
    "mia_wallace", "straight_1", "straight_strand", "twist_long_hair", "twist_long_hair_2", "wick", "wild",
]  # fmt: skip
_BEARDS = ["beard_light", "beard_magestic", "beard_medium", "wick_beard"]
_HATS = ["hat", "turban", "winter_hat_1", "winter_hat_2", "winter_hat_3", "winter_hat_4"]
_GLASSES = ["prescription_01", "prescription_02", "round"]
_SUNGLASSES = ["kurt", "sunglasses", "sunglasses_2", "wayfarers", "wayfarers_2"]
_CLOTHES = [
    "blazer_shirt", "blazer_sweater", "collar_sweater", "hoodie", "overall", "shirt_crew_neck", "shirt_scoop_neck",
    "shirt_v_neck",
]  # fmt: skip

# Colours of blazers in the drawings: cloth and lapels.
_BLAZER = ("#3A4C5A", "#2F4351")

# The visible square of the 264 x 280 drawing: 80 % of its width, below its uppermost 6 %.
_LEFT, _TOP, _SIDE = 26.4, 16.8, 211.2
# Half width and top of hair and hats that would extend beyond the square; they are scaled down.
_OVERSIZED = {
    "big_hair": (117, 13), "curvy": (107, 16), "dreads": (121, 14), "elvis": (66, -4), "frizzle": (58, 9),
    "fro": (116, 0), "hat": (122, 2), "loose_hair": (123, 9), "mohawk": (18, 14), "mowgli": (96, 7),
    "pompadour": (57, 1), "quiff": (70, 1), "short_curly": (60, 9), "short_dreads_2": (96, 0), "short_waved": (62, 10),
    "turban": (84, 3), "wild": (100, 10), "winter_hat_2": (72, 0), "winter_hat_3": (69, 0),
    "winter_hat_4": (69, 4),
}  # fmt: skip
_CENTRE = (132, 100)
# Hair above this y coordinate is hidden by a hat.
_BRIM = 66
# Placeholder for the colour of a fragment.
COLOUR = "{colour}"
_COLOURED = {"Hair-Color", "Facial-Hair-Color", "Fabric-Color", "Skin-Color"}
_PLACEHOLDERS = {"Facial-Hair", "Accessory", "Graphic", "Title"}
_OMITTED = {"Clothing", "Face", "Top"}
# Factor by which faces are rendered larger, before averaging over blocks.
_OVERSAMPLING = 2


def render_face(face: Face, side: int) -> np.ndarray:
    """Render a face at twice its size, and average blocks of pixels.

    Shape:
        uint8 (3, side, side).
    """
    import resvg_py

    png = resvg_py.svg_to_bytes(
        svg_string=face_svg(face), width=_OVERSAMPLING * side, height=_OVERSAMPLING * side, skip_system_fonts=True
    )
    pixels = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"), dtype=np.uint32)
    blocks = pixels.reshape(side, _OVERSAMPLING, side, _OVERSAMPLING, 3).sum(axis=(1, 3))
    return ((blocks + _OVERSAMPLING**2 // 2) // _OVERSAMPLING**2).astype(np.uint8).transpose(2, 0, 1)


def face_svg(face: Face) -> str:
    """Return a face as SVG."""
    layers = [
        _background(face),
        _coloured(part("styles", "transparent"), colours.skin_colour(face)),
        _translated(0, 170, _clothes(face)),
        _translated(76, 82, _features(face), 'fill="#000000"'),
        _hair(face),
        _translated(49, 72, _coloured(_drawing("facial_hair", _BEARDS, face.beard_style), colours.hair_colour(face)))
        if face.beard
        else "",
        _top("hat", _HATS, face.hat_style, colours.hat_colour(face)) if face.hat else "",
        _eyewear(face),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{_LEFT} {_TOP} {_SIDE} {_SIDE}" fill="none">'
        f"{''.join(layers)}</svg>"
    )


def _background(face: Face) -> str:
    first, second = colours.background_colours(face)
    turn = 360 * face.background_angle
    return (
        f'<defs><linearGradient id="background" gradientTransform="rotate({turn:.1f} 0.5 0.5)">'
        f'<stop offset="0" stop-color="{first}"/><stop offset="1" stop-color="{second}"/></linearGradient></defs>'
        '<rect width="264" height="280" fill="url(#background)"/>'
    )


def _clothes(face: Face) -> str:
    piece = _coloured(_drawing("clothes", _CLOTHES, face.clothes_style), colours.clothes_colour(face))
    for drawn, colour in zip(_BLAZER, colours.blazer_colours(face), strict=True):
        piece = piece.replace(drawn, colour)
    return piece


def _features(face: Face) -> str:
    mouth = _drawing("mouth", _SMILES if face.smiling else _OTHER_MOUTHS, face.mouth)
    eyes = _drawing("eyes", _CLOSED_EYES if face.eyes_closed else _OPEN_EYES, face.eyes)
    return (
        _translated(2, 52, mouth)
        + _translated(28, 40, _drawing("nose", _NOSES, face.nose), 'fill-opacity="0.16"')
        + _translated(0, 8, eyes)
        + _translated(0, 0, _drawing("eyebrows", _EYEBROWS, face.eyebrows), 'fill-opacity="0.6"')
    )


def _hair(face: Face) -> str:
    hair = _top("hair", _LONG_HAIR if face.long_hair else _SHORT_HAIR, face.hair_style, colours.hair_colour(face))
    if not face.hat:
        return hair
    below = f'<defs><clipPath id="below"><rect y="{_BRIM}" width="264" height="280"/></clipPath></defs>'
    return f'{below}<g clip-path="url(#below)">{hair}</g>'


def _eyewear(face: Face) -> str:
    clear = _translated(62, 85, _drawing("accessories", _GLASSES, face.glasses_style))
    dark = _translated(62, 85 - 48 * face.glasses, _drawing("accessories", _SUNGLASSES, face.sunglasses_style))
    return face.glasses * clear + face.sunglasses * dark


def _top(kind: str, names: Sequence[str], variant: float, colour: str) -> str:
    name = _selected(names, variant)
    piece = _coloured(part(f"top/{kind}", name), colour)
    if name not in _OVERSIZED:
        return piece
    half_width, top = _OVERSIZED[name]
    (x, y), margin = _CENTRE, 2
    wide = min(1, (_SIDE / 2 - margin) / half_width)
    high = min(1, (y - _TOP - margin) / (y - top))
    return f'<g transform="translate({x},{y}) scale({wide:.4f},{high:.4f}) translate({-x},{-y})">{piece}</g>'


def _selected(names: Sequence[str], variant: float) -> str:
    return names[int(variant * len(names))]


def _drawing(kind: str, names: Sequence[str], variant: float) -> str:
    return part(kind, _selected(names, variant))


def _coloured(piece: str, colour: str) -> str:
    return piece.replace(COLOUR, colour)


def _translated(right: float, down: float, piece: str, attributes: str = "") -> str:
    return f'<g transform="translate({right},{down})" {attributes}>{piece}</g>'


@cache
def part(kind: str, name: str) -> str:
    """Return a drawing without its outer element, with ``COLOUR`` as its colour and with unique ids.

    Args:
        kind: Folder of the drawing, such as "mouth" or "top/hair"; "styles" contains the body.
        name: Name of the drawing, such as "smile".
    """
    file = distribution("python-avatars").locate_file(f"python_avatars/avatar_parts/{kind}/{name}.svg")
    root = ElementTree.parse(str(file)).getroot()
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.items()}
    shapes = {f"url(#{mask.get('id')})": use.get("href", "") for mask in root.iter("mask") for use in mask}
    prefix = f"{kind.replace('/', '-')}-{name}-"
    return "".join(_serialised(child, prefix, shapes) for child in root)


def _serialised(element: ElementTree.Element, prefix: str, shapes: dict[str, str]) -> str:
    """Serialise an element without titles and empty placeholders; a masked colour becomes a filled shape."""
    identity = element.get("id")
    if element.tag in ("title", "desc") or identity in _OMITTED or (identity in _PLACEHOLDERS and not len(element)):
        return ""
    attributes = {name: _prefixed(name, value, prefix) for name, value in element.items()}
    if identity in _COLOURED:
        attributes["fill"] = COLOUR
        if element.get("mask") in shapes and all(inner.tag in ("g", "rect") for inner in element.iter()):
            # Masks take most of the rendering time.
            return f'<use href="{_prefixed("href", shapes[element.attrib["mask"]], prefix)}" fill="{COLOUR}"/>'
    content = "".join(_serialised(child, prefix, shapes) for child in element)
    attribute_list = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<{element.tag}{attribute_list}>{content}</{element.tag}>"


def _prefixed(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        return f"#{prefix}{value.removeprefix('#')}"
    return value.replace("url(#", f"url(#{prefix}").replace('"', "&quot;")
