"""Drawings of ``python-avatars`` as SVG fragments that can be combined.

The files are read and combined here instead of by the package, which draws either hair or a hat, gives masks of
different parts the same name, and parses the files again for every image.
"""

from functools import cache
from importlib.metadata import distribution
from xml.etree import ElementTree

# Placeholder for the colour of a fragment.
COLOUR = "{colour}"
_COLOURED = {"Hair-Color", "Facial-Hair-Color", "Fabric-Color", "Skin-Color"}
_PLACEHOLDERS = {"Facial-Hair", "Accessory", "Graphic", "Title"}
_LEFT_OUT = {"Clothing", "Face", "Top"}


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
    if element.tag in ("title", "desc") or identity in _LEFT_OUT or (identity in _PLACEHOLDERS and not len(element)):
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
