"""Requests as ``multipart/form-data``: each field of the JSON as a part, and pictures as files."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from fastapi import Request
from starlette.formparsers import MultiPartException, MultiPartParser

from glow_app.server.answers import invalid

_FILES, _TEXTS, _LISTS = ("image", "images", "inputs"), ("image", "images", "restorer"), ("images", "edits")
_PYTHON = {"True": "true", "False": "false", "None": "null"}  # as generated clients in Python write them
_PIECE = 2**16  # bytes of a form that are parsed before other clients are served

Part = tuple[str, str | bytes]  # name, and the content of a file as bytes or of a field as text


class _InMemory(MultiPartParser):
    spool_max_size = 0  # files are never written to the disk


class FormRequest(Request):
    """A request with a form, for routes that take JSON."""

    def __init__(self, request: Request, values: dict[str, Any]) -> None:
        headers = [(b"content-type", b"application/json")]
        super().__init__({**request.scope, "headers": headers + request.headers.raw}, request.receive)
        self._body, self._values = b"a form", values

    async def json(self) -> Any:
        """Return what the JSON would be, with files as bytes."""
        return self._values


async def parts_of(request: Request) -> list[Part]:
    """Return the parts of a form whose body was received."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        body = await request.body()
        for start in range(0, len(body), _PIECE):
            yield body[start : start + _PIECE]
            await asyncio.sleep(0)

    try:
        form = await _InMemory(request.headers, pieces()).parse()
    except MultiPartException as error:
        raise invalid(f"the form is invalid: {error.message}") from error
    return [(name, value if isinstance(value, str) else await value.read()) for name, value in form.multi_items()]


def values_of(parts: Sequence[Part]) -> dict[str, Any]:
    """Return what the JSON would be: fields with several parts are lists, and ``inputs.mask`` is part of ``inputs``."""
    all_values: dict[str, list[Any]] = {}
    for name, value in parts:
        field = name.partition(".")[0]
        if isinstance(value, bytes) and field not in _FILES:
            raise invalid(f"{name[:100]}: expected no file; the fields of files are {', '.join(_FILES)}")
        with suppress(ValueError, RecursionError):  # text that is not JSON, such as the name of a class
            value = value if isinstance(value, bytes) or name in _TEXTS else json.loads(_PYTHON.get(value, value))
        all_values.setdefault(name, []).append(value)
    values: dict[str, Any] = {}
    for name, each in all_values.items():
        field, _, key = name.partition(".")
        is_list = len(each) > 1 or (name in _LISTS and not isinstance(each[0], list))
        inner = values.setdefault(field, {}) if key else values
        if isinstance(inner, dict):  # otherwise the field is refused by its type
            inner[key or field] = each if is_list else each[0]
    return values
