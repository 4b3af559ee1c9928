"""Changes of one value in nested dictionaries, as in a damaged or edited file."""

from typing import Any

ABSENT = "nothing"


def change(content: dict[str, Any], place: str, value: object) -> None:
    """Set the value at a place such as ``model/flow/prior``; remove it if the value is ``ABSENT``."""
    *parents, name = place.split("/")
    for parent in parents:
        content = content[parent]
    if value is ABSENT:
        del content[name]
    else:
        content[name] = value
