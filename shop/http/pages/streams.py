"""Kept pages, which a coroutine answers without a thread: they are public, and the same for all clients."""

from collections.abc import Awaitable, Callable, Mapping

from shop.http.pages import pages
from shop.http.pages.pages import Scope, Send
from shop.http.request_body import Receive

Handler = Callable[[Scope, Mapping[bytes, bytes], Receive, Send], Awaitable[None]]
_handlers: dict[str, Handler] = {}


def register(path: str, handler: Handler) -> None:
    """Have `handler` answer requests for this path; it raises what `pages.serve_page` raises."""
    _handlers[path] = handler


def is_answered_by_coroutine(path: str) -> bool:
    """Whether a coroutine answers requests for this path."""
    return path in _handlers


def handler_of(path: str) -> Handler:
    """What answers requests for this path: a registered handler, or Django."""
    return _handlers.get(path, pages.serve_page)
