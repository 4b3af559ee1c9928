"""API errors: a status, a code for programs and a message for people, but never the text of a foreign exception."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Scope

_LOG = logging.getLogger("glow_app.server")


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
    status: {"model": ErrorAnswer} for status in (401, 404, 405, 408, 413, 415, 421, 422, 500, 503, 504)
}


class ApiError(Exception):
    """An error for the client: HTTP status, a short code for programs, a message, and seconds until a retry."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class ClientLeftError(Exception):
    """The client closed the connection before the answer."""


def invalid(message: str) -> ApiError:
    """Return the error for an invalid value in a request."""
    return ApiError(422, "invalid_request", message)


def model_ended() -> ApiError:
    """Return the error of a server whose model thread has ended, which should never happen."""
    return ApiError(503, "model_ended", "the model's thread has ended; start the server again", 5)


@contextmanager
def refused(place: str = "") -> Iterator[None]:
    """Raise ValueErrors of our own functions, whose messages are for users, as errors of a place in the request."""
    try:
        yield
    except ValueError as error:
        raise invalid(f"{place}: {error}".removeprefix(": ")) from error


def error_answer(raised: BaseException, scope: Scope, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response for whatever was raised, with additional headers; log what should never be."""
    request_id = scope["glow.request_id"]
    error = _error_of(raised)
    if error.code == "internal_error":
        _LOG.error("request %s failed", request_id, exc_info=raised)
    details = ErrorDetails(code=error.code, message=error.message, request_id=request_id)
    more = {**(getattr(raised, "headers", None) or {}), **(headers or {})}  # such as Allow of 405
    if error.status == 401:
        more["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        more["Retry-After"] = str(error.retry_after)
    return JSONResponse(ErrorAnswer(error=details).model_dump(), error.status, more)


def _error_of(raised: BaseException) -> ApiError:
    if isinstance(raised, ApiError):
        return raised
    if isinstance(raised, RequestValidationError):
        return invalid(_first_mistake(raised.errors()))
    if isinstance(raised, HTTPException) and raised.status_code == 400:  # JSON that is nested too deeply, or not UTF-8
        return invalid("the body is not JSON")
    if isinstance(raised, HTTPException):
        phrase = HTTPStatus(raised.status_code).phrase
        return ApiError(raised.status_code, phrase.lower().replace(" ", "_"), phrase)
    if isinstance(raised, asyncio.CancelledError):  # uvicorn cancels what a stopping server has not finished
        return ApiError(503, "stopping", "the server is stopping; try again in 5 s", 5)
    return ApiError(500, "internal_error", "the server failed; its log says more")


def _first_mistake(mistakes: Sequence[Any]) -> str:
    """Return place and description of the first mistake, never the value, which may be huge or private."""
    if mistakes[0]["type"] == "json_invalid":
        return "the body is not JSON"
    # A field of several types has a mistake for each; the one with the longest path matches what the client meant.
    alike = [mistake for mistake in mistakes if mistake["loc"][:2] == mistakes[0]["loc"][:2]]
    mistake = max(alike, key=lambda mistake: len(mistake["loc"]))
    place = ""
    for part in mistake["loc"][1:]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part.isidentifier() and part not in ("int", "float", "str"):  # without the types that pydantic inserts
            place += f".{part}"
    return f"{place.removeprefix('.')[:100] or 'the body'}: {mistake['msg'][:200]}"
