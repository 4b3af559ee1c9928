"""Drawings of ``python-avatars`` as pieces of SVG that can be put together.

They are read as files and joined here, and not by the package: it draws either hair or a hat, gives masks of
different parts the same name, and parses every file anew for every picture.
"""

from functools import cache
from importlib.metadata import distribution
from xml.etree import ElementTree

# Stands in a piece where a colour belongs.
COLOUR = "{colour}"
_COLOURED = {"Hair-Color", "Facial-Hair-Color", "Fabric-Color", "Skin-Color"}
_PLACEHOLDERS = {"Facial-Hair", "Accessory", "Graphic", "Title"}
_LEFT_OUT = {"Clothing", "Face", "Top"}


@cache
def part(kind: str, name: str) -> str:
    """Return one drawing without its frame, with ``COLOUR`` for its colour, and names that no other part has.

    Args:
        kind: Folder of the drawings, such as "mouth" or "top/hair"; "styles" holds the body.
        name: Of the drawing, such as "smile".
    """
    file = distribution("python-avatars").locate_file(f"python_avatars/avatar_parts/{kind}/{name}.svg")
    root = ElementTree.parse(str(file)).getroot()
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.items()}
    shapes = {f"url(#{mask.get('id')})": use.get("href", "") for mask in root.iter("mask") for use in mask}
    prefix = f"{kind.replace('/', '-')}-{name}-"
    return "".join(_text(child, prefix, shapes) for child in root)


def _text(element: ElementTree.Element, prefix: str, shapes: dict[str, str]) -> str:
    """Write an element without titles and empty places for other parts; a colour through a mask fills its shape."""
    identity = element.get("id")
    if element.tag in ("title", "desc") or identity in _LEFT_OUT or (identity in _PLACEHOLDERS and not len(element)):
        return ""
    attributes = {name: _prefixed(name, value, prefix) for name, value in element.items()}
    if identity in _COLOURED:
        attributes["fill"] = COLOUR
        if element.get("mask") in shapes and all(inner.tag in ("g", "rect") for inner in element.iter()):
            # Masks take most of the time of a picture.
            return f'<use href="{_prefixed("href", shapes[element.attrib["mask"]], prefix)}" fill="{COLOUR}"/>'
    inside = "".join(_text(child, prefix, shapes) for child in element)
    written = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<{element.tag}{written}>{inside}</{element.tag}>"


def _prefixed(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        return f"#{prefix}{value.removeprefix('#')}"
    return value.replace("url(#", f"url(#{prefix}").replace('"', "&quot;")
