"""API errors: a status, a code for programs and a message for people, but never the text of a foreign exception."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException


class ErrorDetails(BaseModel):
    """Code, message and request of an error."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every error answer."""

    error: ErrorDetails


_WORDS = {
    401: "The key is missing or wrong.",
    404: "There is no such direction or restorer.",
    405: "The path accepts another method.",
    408: "The body arrived too slowly.",
    413: "The body is too large, or a picture has too many pixels or takes too long to decode.",
    415: "The Content-Type is not application/json, or a picture has an unknown format.",
    421: "The Host header names another server.",
    422: "The body is not JSON, holds too many values, a value is out of range, or a picture is damaged.",
    500: "The server failed.",
    503: "The queue is full or the server is stopping; retry after Retry-After seconds.",
    504: "The deadline has passed.",
}
# Responses in the OpenAPI document.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": words} for status, words in _WORDS.items()
}


class ApiError(Exception):
    """An error for the client: HTTP status, a short code for programs, a message, and headers."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


class ClientLeftError(Exception):
    """The client closed the connection before the answer."""


def invalid(message: str) -> ApiError:
    """Return the error for an invalid value in a request."""
    return ApiError(422, "invalid_request", message)


@contextmanager
def refused(place: str = "") -> Iterator[None]:
    """Raise ValueErrors of our own functions, whose messages are for users, as errors of a place in the request."""
    try:
        yield
    except ValueError as error:
        raise invalid(f"{place}: {error}".removeprefix(": ")) from error


def stopping() -> ApiError:
    """Return the error of a stopping server."""
    return ApiError(503, "stopping", "the server is stopping; try again in 5 s", {"Retry-After": "5"})


def model_ended() -> ApiError:
    """Return the error of a server whose model thread has ended, which should never happen."""
    return ApiError(503, "model_ended", "the model's thread has ended; start the server again", {"Retry-After": "5"})


def error_answer(error: ApiError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response for an error, with additional headers."""
    details = ErrorDetails(code=error.code, message=error.message, request_id=request_id)
    return JSONResponse(ErrorAnswer(error=details).model_dump(), error.status, {**error.headers, **(headers or {})})


def handle_errors(app: FastAPI) -> None:
    """Answer expected errors in the common form; :class:`~glow_app.server.gate.Gate` handles all others."""

    def answer(request: Request, error: ApiError) -> JSONResponse:
        return error_answer(error, request.scope["glow.request_id"])

    @app.exception_handler(ApiError)
    async def handle_api_error(request: Request, error: ApiError) -> JSONResponse:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def handle_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, invalid(_first_mistake(error.errors())))

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's for JSON that is nested too deeply, or not UTF-8
            return answer(request, invalid("the body is not JSON"))
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "_")
        return answer(request, ApiError(error.status_code, code, phrase, error.headers))


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
