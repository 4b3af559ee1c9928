"""Answers: JSON, or pictures if the Accept header prefers them, and errors in one form for all."""

import asyncio
import io
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from traceback import clear_frames
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from PIL import Image
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from glow_app.messages import printable
from glow_app.pictures.animations import animation_bytes
from glow_app.pictures.encoding import picture_bytes
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import to_pil
from glow_app.pictures.picture_file import PictureFile
from glow_app.server.model_thread import ModelEndedError

JSON, FORM, OCTETS, ZIP = "application/json", "multipart/form-data", "application/octet-stream", "application/zip"
PNG, ANIMATIONS = "image/png", {"image/gif": ".gif", "image/webp": ".webp"}
PICTURES = {PNG: ".png", "image/webp": ".webp", "image/jpeg": ".jpg"}
PNG_LEVEL = 2  # of compression; the usual 6 takes three times as long to save a fifth

_LOG = logging.getLogger("glow_app.server")
_LONGEST = 500  # characters of a message
_TYPES = ("int", "float", "str", "bytes")  # that pydantic inserts into the path to a field
_ASCII = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


async def respond(
    request: Request,
    answer: BaseModel | Callable[[], BaseModel],
    images: Images,
    facts: Mapping[str, Any],
    *,
    source: PictureFile | None = None,
    together: Callable[[Images], Image.Image] | None = None,
) -> Response:
    """Answer with JSON, a picture, or a zip of several, whichever the Accept header prefers; encode only that.

    Args:
        request: The request.
        answer: The JSON, or a function that makes it.
        images: The images, (B, C, H, W).
        facts: Metadata of the picture, for text chunks of PNG and the headers ``X-Glow-...``.
        source: The file of which the images are results, read for :func:`answer_kind`.
        together: Function that returns a picture of several images, which are frames, instead of a zip; a GIF or WebP
            of these is an animation.
    """
    are_several = len(images) > 1
    kinds = (*PICTURES, *ANIMATIONS) if together and are_several else (*PICTURES,)
    kind = _preferred(request, kinds)
    if kind == JSON:
        made = answer if isinstance(answer, BaseModel) else await asyncio.to_thread(answer)
        return Response(await asyncio.to_thread(made.model_dump_json), media_type=JSON)

    def file_of(picture: Image.Image, text: Mapping[str, Any]) -> bytes:
        if source:
            return source.content(picture, text, compress_level=PNG_LEVEL)
        return picture_bytes(picture, kind.partition("/")[2], text, compress_level=PNG_LEVEL)

    def content() -> bytes:
        if not are_several:
            return file_of(to_pil(images[0]), facts)
        if together:
            suffix = ANIMATIONS.get(kind)
            return animation_bytes(images, suffix) if suffix else file_of(together(images), facts)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as files:
            for number, image in enumerate(images):
                own = image.facts[0] if image.facts else facts
                seed = f"_seed{own['seed']}" if image.facts else ""
                files.writestr(f"{number:04d}{seed}{PICTURES[kind]}", file_of(to_pil(image), own))
        return archive.getvalue()

    # Headers are ASCII; other characters are percent-encoded, as in URLs.
    headers = {f"X-Glow-{name.replace('_', '-').title()}": quote(str(value), _ASCII) for name, value in facts.items()}
    media_type = ZIP if are_several and not together else kind
    return Response(await asyncio.to_thread(content), media_type=media_type, headers=headers)


def answer_kind(request: Request) -> str:
    """Return the format of the pictures in the answer to a request, also in JSON: PNG unless Accept has one."""
    return next((kind for kind in _accepted(request) if kind in PICTURES), PNG).partition("/")[2]


def _preferred(request: Request, kinds: Sequence[str]) -> str:
    """Return the first media type in the Accept header that can be sent; JSON if there is none."""
    return next((kind for kind in _accepted(request) if kind in (*kinds, JSON, "*/*")), JSON).replace("*/*", JSON)


def _accepted(request: Request) -> list[str]:
    """Return the media types in the Accept header in their order, with PNG for pictures of any type."""
    parts = ",".join(request.headers.getlist("accept")).lower().split(",")
    return [part.partition(";")[0].strip().replace("image/*", PNG) for part in parts]


class ErrorDetails(BaseModel):
    """Code, message and request of an error."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every error answer."""

    error: ErrorDetails


# Responses in the OpenAPI document.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (401, 403, 404, 405, 408, 413, 415, 421, 422, 500, 503, 504)
}


class ApiError(HTTPException):
    """An error for the client: HTTP status, a short code for programs, a message, and headers."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, headers)
        self.code = code


def unavailable(code: str, message: str, seconds: int) -> ApiError:
    """Return the error for a request that may succeed after some seconds."""
    return ApiError(503, code, f"{message}; try again in {seconds} s", {"Retry-After": str(seconds)})


def invalid(message: str) -> ApiError:
    """Return the error for an invalid value in a request."""
    return ApiError(422, "invalid_request", message)


@contextmanager
def validating(field: str = "") -> Iterator[None]:
    """Turn a ValueError of our own functions, whose messages are for users, into an ApiError about a field."""
    try:
        yield
    except ValueError as error:
        text = printable(" ".join(str(error)[:_LONGEST].split()))  # it may quote any value
        raise invalid(f"{field}: {text}".removeprefix(": ")) from error


async def answer_error(request: Request, raised: BaseException) -> Response:
    """Return the response to an exception; log an unexpected one, whose text is never sent."""
    request_id = request.scope["glow.request_id"]
    error = _api_error(raised)
    if error.code == "internal_error":
        _LOG.error("request %s failed", request_id, exc_info=raised)
    clear_frames(raised.__traceback__)  # they hold the body, in reference cycles with their exceptions
    details = ErrorDetails(code=error.code, message=error.detail, request_id=request_id)
    return JSONResponse(ErrorAnswer(error=details).model_dump(), error.status_code, error.headers)


def _api_error(raised: BaseException) -> ApiError:
    if isinstance(raised, ApiError):
        return raised
    if isinstance(raised, RequestValidationError):
        return invalid(_first_mistake(raised.errors()))
    if isinstance(raised, HTTPException):
        phrase = HTTPStatus(raised.status_code).phrase
        return ApiError(raised.status_code, phrase.lower().replace(" ", "_"), phrase, raised.headers)
    if isinstance(raised, FloatingPointError):
        return ApiError(422, "not_finite", "the image is not finite; lower the temperature or the strength")
    if isinstance(raised, ModelEndedError):
        return ApiError(503, "model_ended", "the model has stopped; restart the server", {"Retry-After": "5"})
    if isinstance(raised, asyncio.CancelledError):  # uvicorn cancels what a stopping server has not finished
        return unavailable("stopping", "the server is stopping", 5)
    return ApiError(500, "internal_error", "internal error; see the server's log")


def _first_mistake(mistakes: Sequence[Any]) -> str:
    """Return field and description of the first mistake, never the value, which may be huge or private."""
    # A field of several types has a mistake for each; the one with the longest path matches what the client meant.
    same_field = [mistake for mistake in mistakes if mistake["loc"][:2] == mistakes[0]["loc"][:2]]
    mistake = max(same_field, key=lambda mistake: len(mistake["loc"]))
    field = ""
    for part in mistake["loc"][1:]:
        if isinstance(part, int):
            field += f"[{part}]"
        elif part.isidentifier() and part not in _TYPES:
            field += f".{part}"
    message = "there is no such field" if mistake["type"] == "extra_forbidden" else mistake["msg"][:200]
    return f"{field.removeprefix('.')[:100] or 'the body'}: {message}"
