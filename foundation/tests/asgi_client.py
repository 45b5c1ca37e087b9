"""Requests to the ASGI application in this process, as the web server makes them, without a connection."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from django.utils.module_loading import import_string

from foundation.http.json_format import dump

HOST = "127.0.0.1:8000"
# The roof's, which the floor's tests name only here.
application = import_string("shop.burst.application.application")


class Answer(NamedTuple):
    """The application's response; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return orjson.loads(self.body)


def request_scope(
    method: str,
    path: str,
    *,
    access="",
    headers: Mapping[str, str] | None = None,
    query="",
    mount="",
    length=0,
    address="127.0.0.1",
) -> dict[str, Any]:
    """A request's scope (ASGI 3), of a client at this address."""
    fields = {"Host": HOST, "Content-Type": "application/json", "Content-Length": str(length)}
    if access:
        fields["Authorization"] = f"Bearer {access}"
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": mount + path,
        "root_path": mount,
        "query_string": query.encode(),
        "headers": [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in (fields | dict(headers or {})).items()
        ],
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": (address, 50_000),
    }


async def send_request(
    method: str, path: str, body=None, *, parts: Iterable[bytes] | None = None, is_stalled=False, **about
) -> Answer:
    """Send one request; `parts` is a body in several messages, of which the last never comes if `is_stalled`.

    A body that is not bytes is sent as JSON.
    """
    whole = body if isinstance(body, bytes) else b"" if body is None else dump(body)
    remaining = [whole] if parts is None else list(parts)
    messages: list[dict[str, Any]] = []

    async def receive():
        if not remaining:
            await asyncio.get_running_loop().create_future()
        part = remaining.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(remaining) or is_stalled}

    async def send(message):
        messages.append(message)

    await application(request_scope(method, path, length=sum(map(len, remaining)), **about), receive, send)
    start, *rest = messages
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(part["body"] for part in rest))


def send_request_blocking(method: str, path: str, body=None, **about) -> Answer:
    """The same on an event loop of its own."""
    return asyncio.run(send_request(method, path, body, **about))
