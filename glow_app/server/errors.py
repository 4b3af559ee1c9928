"""Errors as the API tells them: a status, a code for programs, a sentence for people, and never an exception's text."""

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
    """What went wrong."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetails


# Of a body that was refused: taken, so that the client reads why; for less than a stop of the server waits.
_DISCARDED, _DISCARD_SECONDS = 2**26, 0.8

_EXPECTED = "Input should be "  # with which messages of pydantic begin
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
# Of the OpenAPI document.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _WORDS.items()
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: ERRORS.pop(404)}  # of /v1/edit and /v1/restore only


class ApiError(Exception):
    """An error for the client: status, a short code for programs, a sentence, and seconds until a retry."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def invalid(message: str) -> ApiError:
    """Return the error of a request with a value that does not fit."""
    return ApiError(422, "invalid_request", message)


def stopping() -> ApiError:
    """Return the error of a server that stops."""
    return ApiError(503, "stopping", "the server is stopping; try again in 5 s", 5)


def model_ended() -> ApiError:
    """Return the error of a server whose model's thread has ended, which should never happen."""
    return ApiError(503, "model_ended", "the model's thread has ended; start the server again", 5)


def error_answer(error: ApiError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer that tells an error, with more headers if there are any."""
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    details = ErrorDetails(code=error.code, message=error.message, request_id=request_id)
    return JSONResponse(ErrorAnswer(error=details).model_dump(), error.status, headers)


async def answer_and_discard(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer, and take what still comes of the body: to close a connection before that resets it.

    The reset would reach a client that writes its whole body before it reads, as most do, in place of the answer.
    """

    async def send_all_but_the_end(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["more_body"] = True
        await send(message)

    await answer(scope, receive, send_all_but_the_end)
    left = _DISCARDED
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0 and (message := await receive()).get("more_body", False):
                left -= len(message["body"])
    await send({"type": "http.response.body"})


def handle_errors(app: FastAPI) -> None:
    """Give every error that an app foresees the one shape; :class:`~glow_app.server.gate.Gate` has the others."""

    def answer(request: Request, error: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return error_answer(error, request.scope["glow.request_id"], headers)

    @app.exception_handler(ApiError)
    async def of_api(request: Request, error: ApiError) -> JSONResponse:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, invalid(_where_and_what(error)))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400 and error.__cause__ is not None:  # of FastAPI: what was no JSON and no syntax error
            return answer(request, invalid(_not_json(error.__cause__)))
        phrase = HTTPStatus(error.status_code).phrase
        return answer(request, ApiError(error.status_code, phrase.lower().replace(" ", "_"), phrase), error.headers)


def _not_json(cause: BaseException) -> str:
    reasons = {UnicodeError: "it is not UTF-8", RecursionError: "it is nested too deeply"}
    found = next((text for kind, text in reasons.items() if isinstance(cause, kind)), "a number has too many digits")
    return f"the body is not JSON: {found}"


def _where_and_what(error: RequestValidationError) -> str:
    """Return the first mistake; of the value no more than a number, as others may be huge or not be for a log."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][1] + 1}"
    # Where a field is of one of several types, there is an error for each: those that got furthest say what was meant.
    placed = [(_path(one, error.body), one) for one in errors if one["loc"][:2] == first["loc"][:2]]
    furthest = max((path for path, _ in placed), key=len)
    texts = dict.fromkeys(one["msg"] for path, one in placed if path == furthest)
    beginning, *others = texts
    what = ", or ".join([beginning, *(text.removeprefix(_EXPECTED).lower() for text in others)])[:200]
    if beginning.startswith(_EXPECTED):
        what += f", not {_kind(next(one['input'] for path, one in placed if path == furthest))}"
    return f"{''.join(furthest).removeprefix('.')[:100] or 'the body'}: {what}"


def _kind(value: Any) -> str:
    """Return a number, true, false or null as in JSON, and of other values what they are."""
    kinds: dict[type, str] = {bytes: "bytes", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value)) or json.dumps(value)[:20]


def _path(error: Mapping[str, Any], body: Any) -> list[str]:
    """Return the way to the mistake in the body; names of types, which pydantic puts between, are no part of it."""
    path = []
    for part in error["loc"][1:]:
        is_there = part in body if isinstance(body, dict) else isinstance(body, list) and isinstance(part, int)
        if is_there:
            body = body[part]
        if is_there or error["type"] == "missing":
            path.append(f"[{part}]" if isinstance(part, int) else f".{part}")
    return path
