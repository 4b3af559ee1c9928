"""Examples of every request, for the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

import torch
from fastapi.openapi.models import Example

from glow_app.server.pictures import encode_png
from glow_app.server.schemas import RestorerInfo

_GREY = torch.arange(0, 256, 4, dtype=torch.uint8).reshape(1, 8, 8)
_PICTURE, _OTHER = (encode_png(image) for image in (_GREY, _GREY.flip(1)))
_MASK = encode_png(torch.zeros(1, 8, 8, dtype=torch.uint8).index_fill(1, torch.tensor([3, 4]), 255))


def _example(summary: str, value: dict[str, Any]) -> Example:
    return {"summary": summary, "value": value}


def examples_of(directions: Iterable[str], restorers: Iterable[RestorerInfo]) -> dict[str, dict[str, Example]]:
    """Return the examples of each endpoint by name, for a server with these directions and restorers.

    Pictures are tiny; any model resizes them to its shape.
    """
    direction = next(iter(directions), None)
    missing = "This server has no directions; glow edit learn adds them."
    edit = {"image": _PICTURE, "edits": [{"direction": direction or "smile", "strength": 1}]}
    return {
        "sample": {
            "one": _example("One image from a seed.", {"seed": 7}),
            "several": _example("Four images at a low temperature.", {"count": 4, "seed": 0, "temperature": 0.5}),
        },
        "interpolate": {
            "two": _example("Five frames between two images.", {"images": [_PICTURE, _OTHER], "frames": 5}),
            "middle": _example("The frame in the middle.", {"images": [_PICTURE, _OTHER], "at": [[0.5]]}),
        },
        "edit": {"one": _example("A step along a direction." if direction else missing, edit)},
        "reconstruct": {"one": _example("One image.", {"images": [_PICTURE]})},
        "score": {"two": _example("Two images.", {"images": [_PICTURE, _OTHER], "draws": 2})},
        "restore": _restore_examples(restorers),
    }


def _restore_examples(restorers: Iterable[RestorerInfo]) -> dict[str, Example]:
    """Return an example for each restorer."""
    examples = {}
    for restorer in restorers:
        options = {name: value for name, value in {"mask": _MASK, "sigma": 20}.items() if name in restorer.takes}
        value = {"image": _PICTURE, "restorer": restorer.name, "seed": 0, **options}
        examples[restorer.name] = _example(f"Four draws ({restorer.task}).", value)
    missing = "This server has no restorers; glow serve --restorers adds them."
    return examples or {"none": _example(missing, {"image": _PICTURE})}
