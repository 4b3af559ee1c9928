"""Errors as the API tells them: a status, a code for programs, a sentence for people, and never an exception's text."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

__all__ = ["ApiError", "ErrorAnswer", "error_answer", "handle_errors"]


class ErrorDetails(BaseModel):
    """What went wrong."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetails


class ApiError(Exception):
    """An error that is told to the client.

    Args:
        status: Of HTTP.
        code: A short name, for programs.
        message: A sentence: what was found, what is expected.
        retry_after: Seconds after which to come again.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def error_answer(error: ApiError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer that tells an error, with more headers if there are any."""
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    details = ErrorDetails(code=error.code, message=error.message, request_id=request_id)
    return JSONResponse(ErrorAnswer(error=details).model_dump(), error.status, headers)


def handle_errors(app: FastAPI) -> None:
    """Give every error that an app foresees the one shape; :class:`~glow_app.server.gate.Gate` has the others."""

    def answer(request: Request, error: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return error_answer(error, request.scope["glow.request_id"], headers)

    @app.exception_handler(ApiError)
    async def told(request: Request, error: ApiError) -> JSONResponse:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, ApiError(422, "invalid_request", _where_and_what(error)))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        phrase = HTTPStatus(error.status_code).phrase
        return answer(request, ApiError(error.status_code, phrase.lower().replace(" ", "_"), phrase), error.headers)


def _where_and_what(error: RequestValidationError) -> str:
    """Return the first mistake, without the value itself, which may be huge or not be for a log."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "the body is not JSON"
    place = ".".join(str(part) for part in first["loc"] if part != "body")[:100] or "the body"
    return f"{place}: {first['msg'][:200]}"
