"""The reference of the API, ``/openapi.json``: groups, summaries, forms, and examples that run on the served model."""

import json
import re
from base64 import b64encode
from typing import Any

import torch
from fastapi import FastAPI

from glow_app.pictures.encoding import png_bytes
from glow_app.pictures.images import to_pil
from glow_app.server.answers import FORM, JSON
from glow_app.server.info import Info

TAGS = {
    "Draw": "Draw pictures, and blend them.",
    "Edit": "Change pictures: their attributes, or their latents.",
    "Restore": "Restore damaged pictures.",
    "Measure": "Measure how likely pictures are, and how exactly they are reconstructed.",
    "Operate": "For programs that call, supervise and scale the server.",
}
_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "An ID of your own, for the log and `/v1/progress`. The answer has it, or a random one.",
    "example": "my-photo",
}


def describe(app: FastAPI, info: Info) -> None:
    """Complete the document of an application, which keeps it."""
    document, examples = app.openapi(), _examples(info)
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    schemas = document["components"]["schemas"]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["summary"] = re.split("[;:,.]", operation["description"])[0]
            content = operation.get("requestBody", {}).get("content", {})
            if content:
                operation["parameters"] = [_REQUEST_ID]
            if JSON in content:
                name = content[JSON]["schema"]["$ref"].rpartition("/")[2]
                form = name.replace("Request", "Form")
                schemas[form] = _form_of(schemas[name], info) | {"title": form}
                content[FORM] = {"schema": {"$ref": f"#/components/schemas/{form}"}}
            if operation["operationId"] in examples:
                content[JSON]["example"] = examples[operation["operationId"]]


def _form_of(schema: dict[str, Any], info: Info) -> dict[str, Any]:
    """Return the schema of a form: pictures are files, nested values are text, and each input has its own field."""
    form: dict[str, Any] = json.loads(json.dumps(schema).replace('"byte"', '"binary"'))
    fields = form["properties"]
    for name in {"at", "given"} & fields.keys():
        text = f"{fields[name]['description']} As text, in JSON unless it is a word."
        fields[name] = {"type": "string", "description": text}
    if fields.pop("inputs", None):
        kinds = {"picture": {"type": "string", "format": "binary"}, "number": {"type": "number"}}
        takes = [item for restorer in info.restorers for item in restorer.takes.items()]
        fields |= {f"inputs.{name}": kinds[kind] for name, kind in takes}
    return form


def _examples(info: Info) -> dict[str, Any]:
    """Return a request of each operation that runs on the served models."""
    ramp = torch.arange(0, 256, 4).expand(3, 64, 64)
    first, second = (
        b64encode(png_bytes(to_pil(image.to(torch.uint8)), compress_level=9)).decode() for image in (ramp, ramp.mT)
    )
    given = {}
    examples: dict[str, Any] = {name: {"images": [first]} for name in ("encode", "reconstruct", "score")}
    if info.given and info.given.attributes:
        each = info.given.attributes[0]
        given = {"given": {each.name: round(each.most) if each.kind == "yes_no" else each.mean}}
        examples["edit"] = {"image": first, "attributes": given["given"]}
    elif info.given and info.given.values:
        given = {"given": info.given.values[0]}
    if info.directions:
        examples["edit"] = {"image": first, "edits": [{"direction": info.directions[0], "strength": 1.0}]}
    for restorer in info.restorers:
        if not restorer.takes:
            examples["restore"] = {"image": first, "restorer": restorer.name}
    return examples | {
        "sample": {"count": 2, "seed": 7, **given},
        "interpolate": {"images": [first, second], "frames": 5},
    }
