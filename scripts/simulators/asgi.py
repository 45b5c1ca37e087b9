"""HTTP for the simulators: requests read, JSON answered, refusals in words, and replies that never come."""

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

LARGEST_BODY = 64 * 1024
"""What a request may bring where nothing else is said."""
HOLD_SECONDS = 60
"""How long a reply that never comes keeps its connection open, when the client doesn't leave before."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a handler needs to know. Header names are in lower case; empty query parameters are absent."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A status and the JSON that goes with it."""

    status: int
    content: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


NO_REPLY = Answer(0, {})
"""What a handler returns whose client shall wait in vain."""


class Refused(Exception):
    """A request that ends with an error: its status, a code for programs, a sentence for people."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ):
        super().__init__(detail)
        self.answer = Answer(status, {"code": code, "detail": detail, **more}, headers or {})


Handler = Callable[[Request], Awaitable[Answer]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Path, then method, to the function that answers."""


async def health(request: Request) -> Answer:
    """Alive; touches nothing."""
    return Answer(200, {"status": "ok"})


def application(
    routes: Routes, *, hold_seconds: float = HOLD_SECONDS, largest_body: int = LARGEST_BODY
) -> Application:
    """The ASGI application of these routes. Whatever comes in, it answers JSON and shows no traceback."""

    async def answer_one(scope: Scope, receive: Receive, send: Send) -> None:
        answer = await _answer(routes, scope, receive, largest_body)
        if answer is not NO_REPLY:
            await _send(answer, send)
        elif await _stays(receive, hold_seconds):
            # What a proxy would say in the end. The client still doesn't know what happened.
            await _send(Answer(504, {"code": "no_reply", "detail": "The reply never came."}), send)

    return answer_one


async def _answer(routes: Routes, scope: Scope, receive: Receive, largest_body: int) -> Answer:
    try:
        handler = _route(routes, scope)
        return await handler(await _read(scope, receive, largest_body))
    except Refused as refused:
        return refused.answer
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return Answer(500, {"code": "internal_error", "detail": "The simulator failed; its log says why."})


def _route(routes: Routes, scope: Scope) -> Handler:
    methods = routes.get(scope["path"])
    if methods is None:
        raise Refused(404, "not_found", f"There is nothing at this path. There is {', '.join(routes)}.")
    handler = methods.get(scope["method"])
    if handler is None:
        allowed = ", ".join(methods)
        raise Refused(405, "method_not_allowed", f"This path takes {allowed}.", headers={"allow": allowed})
    return handler


async def _read(scope: Scope, receive: Receive, largest_body: int) -> Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    return Request(headers=headers, query=query, body=await _read_body(receive, largest_body))


async def _read_body(receive: Receive, largest_body: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "incomplete", "The client left before its body was whole.")
        body += message.get("body", b"")
        if len(body) > largest_body:
            raise Refused(413, "too_large", f"The body is over {largest_body} bytes.")
        if not message.get("more_body"):
            return bytes(body)


async def _stays(receive: Receive, seconds: float) -> bool:
    """Wait for the client to leave; return whether it is still there after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                continue
    except TimeoutError:
        return True
    return False


async def _send(answer: Answer, send: Send) -> None:
    body = orjson.dumps(answer.content)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
    raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw_headers})
    await send({"type": "http.response.body", "body": body})
