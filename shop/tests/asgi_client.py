"""Requests of the ASGI application in this process: as the web server makes them, without a connection."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from shop.http.application import application
from shop.http.json_format import dump

HOST = "127.0.0.1:8000"


class Answer(NamedTuple):
    """What the application answered; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


def scope_of(
    method: str,
    path: str,
    *,
    access: str = "",
    headers: Mapping[str, str] | None = None,
    query: str = "",
    mount: str = "",
    length: int = 0,
) -> dict[str, Any]:
    """A request's scope (ASGI 3)."""
    given = {"Host": HOST, "Content-Type": "application/json", "Content-Length": str(length)}
    if access:
        given["Authorization"] = f"Bearer {access}"
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": mount + path,
        "root_path": mount,
        "query_string": query.encode(),
        "headers": [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in (given | dict(headers or {})).items()
        ],
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000),
    }


async def ask(
    method: str,
    path: str,
    body: Any = None,
    *,
    parts: Iterable[bytes] | None = None,
    is_stalled: bool = False,
    **about: Any,
) -> Answer:
    """One request and its answer; `parts` are those of a body that comes in several, if it comes whole.

    A body that is no bytes is sent as JSON.
    """
    whole = body if isinstance(body, bytes) else b"" if body is None else dump(body)
    left = [whole] if parts is None else list(parts)
    heard: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.get_running_loop().create_future()
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or is_stalled}

    async def send(message: dict[str, Any]) -> None:
        heard.append(message)

    await application(scope_of(method, path, length=sum(map(len, left)), **about), receive, send)
    start, *rest = heard
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(part["body"] for part in rest))


def asked(method: str, path: str, body: Any = None, **about: Any) -> Answer:
    """The same on a loop of its own."""
    return asyncio.run(ask(method, path, body, **about))
