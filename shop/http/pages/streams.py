"""Pages that a coroutine answers: streams, which last as long as their client stays, and kept pages.

Neither holds a thread while it waits or is sent. Whether a request may have a stream is decided by the Django
view at the same path, with all middlewares, before anything is sent. A kept page is public, and the same for
all clients.
"""

from collections.abc import Awaitable, Callable, Mapping

from shop.http import views
from shop.http.pages import pages
from shop.http.pages.pages import Scope, Send
from shop.http.request_body import Receive

Handler = Callable[[Scope, Mapping[bytes, bytes], Receive, Send], Awaitable[None]]
EVENT_STREAM_HEADERS = [
    (name.lower().encode(), value.encode())
    for name, value in (
        ("Content-Type", "text/event-stream; charset=utf-8"),
        # nginx, and proxies that follow it, would otherwise keep events until a buffer is full.
        ("X-Accel-Buffering", "no"),
        *views.PUBLIC_HEADERS,
        ("Cache-Control", "no-store, no-transform"),
    )
]
_handlers: dict[str, Handler] = {}


def register(path: str, handler: Handler) -> None:
    """Have `handler` answer requests for this path; it raises what `pages.serve_page` raises."""
    _handlers[path] = handler


def is_answered_by_coroutine(path: str) -> bool:
    """Whether a coroutine answers requests for this path; those of a stream last."""
    return path in _handlers


def handler_of(path: str) -> Handler:
    """What answers requests for this path: a registered handler, or Django."""
    return _handlers.get(path, pages.serve_page)
