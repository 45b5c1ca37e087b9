"""Django behind ASGI, for pages and the calls of its lane: its own handler in a thread of the pool.

Django's ASGI handler runs synchronous views one at a time, and keeps no connection to the database (its
ticket 33497). A page is rendered completely before it is sent, so a slow reader holds no thread.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from io import BytesIO
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.core.signals import request_started
from django.urls import set_script_prefix

from foundation.concurrency import event_loop
from foundation.concurrency.thread_pool import FILE_POOL, PROBE_POOL, WELCOME_POOL
from foundation.http import request_body
from foundation.http.json_format import TooLarge, require_utf_8
from foundation.http.pages import middleware
from foundation.http.request_body import UPLOAD_KEY, Headers, Message, Receive, Upload
from foundation.lazy_texts import mark
from foundation.values import GivenValues, Values

Scope = Mapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
OPERATORS_PREFIX = "/admin/"
CHUNK_BYTES = 256 * 1024
SECONDS_FOR_A_PART = 60.0
"""For a client to take a part of a file: one that reads ever more slowly would hold it for days."""
MOST_COOKIES = 200
"""Of a request: browsers send no more to a site."""
SESSION_COOKIE = re.compile(
    rf"(?:^|;) *{settings.SESSION_COOKIE_NAME}=([0-9a-z]{{1,99}})(?= *(?:;|$))".encode()
)
POOLS = {middleware.METRICS_PATH: PROBE_POOL, "/readyz": PROBE_POOL, "/": WELCOME_POOL}
"""Of the pages that don't take a thread of the calls."""

_handler = BaseHandler()
_handler.load_middleware()


class PageResponse(NamedTuple):
    """A rendered page: its body as bytes, or as a file."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | IO[bytes]


async def serve_page(scope: Scope, fields: Headers, receive: Receive, send: Send) -> None:
    """Serve a page with Django. Raises a `FirstcomeError` before anything is sent."""
    body = _deferred_upload(scope, fields, receive) or BytesIO(await request_body.read(fields, receive))
    rendering = partial(render, scope, fields, body)
    pool = POOLS.get(path_of(scope))
    await send_page(await event_loop.run_in_thread(rendering, **thread_share(scope), pool=pool), send)


async def send_page(page: PageResponse, send: Send) -> None:
    """Send the page. Raises `TimeoutError` if the client takes no part in time: the end is missing then."""
    start = {"type": "http.response.start", "status": page.status, "headers": page.headers}
    if isinstance(page.body, bytes):
        await send(start)
        await send({"type": "http.response.body", "body": page.body})
    else:
        with page.body as file:
            async with asyncio.timeout(SECONDS_FOR_A_PART):
                await send(start)
            while chunk := await event_loop.run_in_thread(file.read, CHUNK_BYTES, pool=FILE_POOL):
                async with asyncio.timeout(SECONDS_FOR_A_PART):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def thread_share(scope: Scope) -> Values:
    """The group of an address' pages in the pool of threads, and its member: operators, or all others.

    Behind a proxy all clients share an address. So only a session that a page of this process has verified
    lately is one of operators.
    """
    address = scope["client"][0] if scope.get("client") else ""
    return {"group": ("page", address), "member": "operators" if is_of_operator(scope) else "public"}


def is_of_operator(scope: Scope) -> bool:
    """Whether a request for an operators' page has a session that was verified lately."""
    cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    if not path_of(scope).startswith(OPERATORS_PREFIX):
        return False
    found = SESSION_COOKIE.search(cookies)
    return found is not None and middleware.verified_sessions.get(found[1].decode(), False)


def path_of(scope: Scope) -> str:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path


def _deferred_upload(scope: Scope, fields: Headers, receive: Receive) -> Upload | None:
    """Return the body, unread, if the page accepts larger bodies than others. Raises `TooLarge`."""
    length = request_body.declared_length(fields)
    if length is None or length <= settings.MAX_BODY_BYTES:
        return None
    path = path_of(scope)
    permissions = next(
        (needed for page, needed in settings.UPLOADS.items() if re.fullmatch(page, path)), None
    )
    if permissions is None:
        return None
    if length > settings.MAX_UPLOAD_BYTES:
        raise TooLarge(mark("The upload is larger than {size} MiB.", size=settings.MAX_UPLOAD_BYTES // 2**20))
    loop = asyncio.get_running_loop()
    return Upload(permissions, lambda: asyncio.run_coroutine_threadsafe(receive(), loop).result())


def render(
    scope: Scope, fields: Headers, body: Any, about: GivenValues = MappingProxyType({})
) -> PageResponse:
    """Have Django answer the request; `about` is added to its `META`. Raises `UnsupportedMediaType`."""
    require_utf_8(fields.get(b"content-type", b"").decode("latin-1"))
    # The length of a body that came in chunks is known by now.
    length = {} if isinstance(body, Upload) else {b"content-length": str(len(body.getbuffer())).encode()}
    # Python takes quadratic time for escapes in a cookie; the shop's own have none.
    pairs = fields.get(b"cookie", b"").split(b";")[:MOST_COOKIES]
    cookies = [one for one in pairs if b"\\" not in one]
    scope = {
        **scope,
        "headers": [*{**fields, **length, b"cookie": b";".join(cookies)}.items()],
        "query_string": scope["query_string"].decode(errors="replace"),
    }
    set_script_prefix(scope.get("root_path", ""))
    request_started.send(sender=BaseHandler, scope=scope)
    request: Any = ASGIRequest(scope, body)
    request.META.update(about)
    if isinstance(body, Upload):
        request.META[UPLOAD_KEY] = body
    response: Any = _handler.get_response(request)
    set_cookies = [("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()]
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in [*response.items(), *set_cookies]
        if response.status_code not in (204, 304) or name != "Content-Length"
    ]
    try:
        content, size = _response_body(response)
    finally:
        response.close()
    if response.status_code not in (204, 304) and not response.has_header("Content-Length"):
        headers.append((b"content-length", str(size).encode()))
    return PageResponse(response.status_code, headers, content)


def _response_body(response: Any) -> tuple[bytes | IO[bytes], int]:
    """The body and its size; a large file stays open, so that slow readers don't hold a copy each."""
    file = getattr(response, "file_to_stream", None)
    length = int(response.get("Content-Length", -1))
    if file is not None and length > CHUNK_BYTES:
        response._resource_closers.remove(file.close)  # it is closed once it is sent
        return file, length
    content = b"".join(response)
    return content, len(content)
