"""Bodies, parsed one at a time and off the event loop where they are large."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

__all__ = ["ParsedRoute"]

_LARGE = 2**16  # bytes; smaller bodies are parsed in less time than a thread takes to begin
_PARSER = ThreadPoolExecutor(1, thread_name_prefix="parser")


class _ParsedRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        if len(body) < _LARGE:
            return json.loads(body)
        return await asyncio.get_running_loop().run_in_executor(_PARSER, json.loads, body)


class ParsedRoute(APIRoute):
    """A route whose requests are parsed so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of FastAPI, for such requests."""
        handle = super().get_route_handler()

        async def parsed(request: Request) -> Response:
            return await handle(_ParsedRequest(request.scope, request.receive))

        return parsed
