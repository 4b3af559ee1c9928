"""API errors: a status, a code for programs and a message for people, but never the text of a foreign exception."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send


class ErrorDetails(BaseModel):
    """Code, message and request of an error."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every error answer."""

    error: ErrorDetails


# Maximum bytes of a refused body to read and discard, so that the client sees the error, and seconds to do so: fewer
# than a stopping server waits.
_DISCARDED, _DISCARD_SECONDS = 2**26, 0.8

_EXPECTED = "Input should be "  # prefix of messages of pydantic
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
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: ERRORS.pop(404)}  # for /v1/edit and /v1/restore only


class ApiError(Exception):
    """An error for the client: HTTP status, a short code for programs, a message, and seconds until a retry."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def invalid(message: str) -> ApiError:
    """Return the error for an invalid value in a request."""
    return ApiError(422, "invalid_request", message)


def stopping() -> ApiError:
    """Return the error of a stopping server."""
    return ApiError(503, "stopping", "the server is stopping; try again in 5 s", 5)


def model_ended() -> ApiError:
    """Return the error of a server whose model thread has ended, which should never happen."""
    return ApiError(503, "model_ended", "the model's thread has ended; start the server again", 5)


def error_answer(error: ApiError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response for an error, with additional headers."""
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    details = ErrorDetails(code=error.code, message=error.message, request_id=request_id)
    return JSONResponse(ErrorAnswer(error=details).model_dump(), error.status, headers)


async def answer_and_discard(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer, then read and discard the rest of the request's body.

    Closing the connection before would reset it, and most clients, which write the whole body before they read, would
    see the reset instead of the answer.
    """

    async def send_without_end(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["more_body"] = True
        await send(message)

    await answer(scope, receive, send_without_end)
    remaining = _DISCARDED
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while remaining > 0 and (message := await receive()).get("more_body", False):
                remaining -= len(message["body"])
    await send({"type": "http.response.body"})


def handle_errors(app: FastAPI) -> None:
    """Answer expected errors in the common form; :class:`~glow_app.server.gate.Gate` handles all others."""

    def answer(request: Request, error: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return error_answer(error, request.scope["glow.request_id"], headers)

    @app.exception_handler(ApiError)
    async def handle_api_error(request: Request, error: ApiError) -> JSONResponse:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def handle_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, invalid(_first_mistake(error)))

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400 and error.__cause__ is not None:  # FastAPI: invalid JSON other than a syntax error
            return answer(request, invalid(_not_json(error.__cause__)))
        phrase = HTTPStatus(error.status_code).phrase
        return answer(request, ApiError(error.status_code, phrase.lower().replace(" ", "_"), phrase), error.headers)


def _not_json(cause: BaseException) -> str:
    reasons = {UnicodeError: "it is not UTF-8", RecursionError: "it is nested too deeply"}
    matching = (reason for kind, reason in reasons.items() if isinstance(cause, kind))
    return f"the body is not JSON: {next(matching, 'a number has too many digits')}"


def _first_mistake(error: RequestValidationError) -> str:
    """Return place and description of the first mistake; only numbers are quoted, as strings may be huge or private."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][1] + 1}"
    # A field with a union of types has an error for each type; those with the deepest path match what the client meant.
    mistakes = [(_path(mistake, error.body), mistake) for mistake in errors if mistake["loc"][:2] == first["loc"][:2]]
    deepest = max((path for path, _ in mistakes), key=len)
    beginning, *others = dict.fromkeys(mistake["msg"] for path, mistake in mistakes if path == deepest)
    message = ", or ".join([beginning, *(other.removeprefix(_EXPECTED).lower() for other in others)])[:200]
    if beginning.startswith(_EXPECTED):
        message += f", not {_kind(next(mistake['input'] for path, mistake in mistakes if path == deepest))}"
    return f"{''.join(deepest).removeprefix('.')[:100] or 'the body'}: {message}"


def _kind(value: Any) -> str:
    """Return numbers, true, false and null as JSON, and the kind of any other value."""
    kinds: dict[type, str] = {bytes: "bytes", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value)) or json.dumps(value)[:20]


def _path(error: Mapping[str, Any], body: Any) -> list[str]:
    """Return the path to the mistake in the body, without the type names that pydantic inserts."""
    path = []
    for part in error["loc"][1:]:
        is_there = part in body if isinstance(body, dict) else isinstance(body, list) and isinstance(part, int)
        if is_there:
            body = body[part]
        if is_there or error["type"] == "missing":
            path.append(f"[{part}]" if isinstance(part, int) else f".{part}")
    return path
