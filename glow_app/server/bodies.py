"""Bodies of requests: JSON, or ``multipart/form-data`` with each of its fields as a part, and files as files."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

from fastapi import Request
from pydantic_core import from_json
from starlette.formparsers import MultiPartException, MultiPartParser

from glow_app.server.answers import invalid

_FILES, _TEXTS, _LISTS = ("image", "images", "inputs"), ("image", "images", "restorer"), ("images", "edits")
_PYTHON = {"True": "true", "False": "false", "None": "null"}  # as generated clients in Python write them
_PIECE = 2**16  # bytes of a form that are parsed before other clients are served

Part = tuple[str, str | bytes]  # name, and the content of a file as bytes or of a field as text


class Upload:
    """A file, or its base64, which is in memory until it is decoded."""

    def __init__(self, content: str | bytes, release: Callable[[int], None] = lambda num_bytes: None) -> None:
        self.content, self._release = content, release

    def drop(self) -> None:
        """Forget the file, which then no longer counts."""
        self._release(len(self.content))
        self.content = b""


class ParsedRequest(Request):
    """A request whose body was parsed and is no longer in memory, for routes that take JSON."""

    def __init__(self, request: Request, values: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        super().__init__({**request.scope, "headers": headers + request.headers.raw}, request.receive)
        self._body, self._values = b"parsed", values

    async def json(self) -> Any:
        """Return the values, with files as :class:`Upload`."""
        return self._values


class _InMemory(MultiPartParser):
    spool_max_size = 0  # files are never written to the disk
    # Whatever the header says: some of Python's encodings, such as Punycode, take quadratic time.
    _charset = property(lambda self: "utf-8", lambda self, charset: None)


async def parts_of(request: Request) -> list[Part]:
    """Return the parts of a form whose body was received; text has at most 16 KiB."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        body = await request.body()
        for start in range(0, len(body), _PIECE):
            yield body[start : start + _PIECE]
            await asyncio.sleep(0)

    try:
        form = await _InMemory(request.headers, pieces(), max_part_size=2**14).parse()
    except MultiPartException as error:
        raise invalid(f"the form is invalid: {error.message}") from error
    return [(name, value if isinstance(value, str) else await value.read()) for name, value in form.multi_items()]


def values_of_form(parts: Sequence[Part]) -> dict[str, Any]:
    """Return what the JSON would be: fields with several parts are lists, and ``inputs.mask`` is part of ``inputs``."""
    all_values: dict[str, list[Any]] = {}
    for name, value in parts:
        field = name.partition(".")[0]
        if isinstance(value, bytes) and field not in _FILES:
            raise invalid(f"{name[:100]}: expected no file; the fields of files are {', '.join(_FILES)}")
        with suppress(ValueError):  # text that is not JSON, such as the name of a class
            value = value if isinstance(value, bytes) or name in _TEXTS else from_json(_PYTHON.get(value, value))
        all_values.setdefault(name, []).append(value)
    values: dict[str, Any] = {}
    for name, each in all_values.items():
        field, _, key = name.partition(".")
        is_list = len(each) > 1 or (name in _LISTS and not isinstance(each[0], list))
        inner = values.setdefault(field, {}) if key else values
        if isinstance(inner, dict):  # otherwise the field is refused by its type
            inner[key or field] = each if is_list else each[0]
    return values


def values_of_json(body: bytes) -> Any:
    """Return the values of JSON; text is Unicode, without surrogates."""
    try:
        return from_json(body)
    except ValueError as error:
        raise invalid(f"the body is not valid JSON: {error}") from error


def hold_files(values: Any, release: Callable[[int], None]) -> Any:
    """Return a body with its files as :class:`Upload`, each of which calls ``release`` when it is dropped."""

    def held(value: Any) -> Any:
        if isinstance(value, list):
            return [held(each) for each in value]
        if isinstance(value, dict):
            return {name: held(each) for name, each in value.items()}
        return Upload(value, release) if isinstance(value, str | bytes) else value

    if not isinstance(values, dict):
        return values
    return values | {name: held(values[name]) for name in _FILES if name in values}
