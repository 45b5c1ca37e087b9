"""A part of a page whose figures take a while: the page shows how far they are, and then them.

The page's script (`backoffice/streamed.js`) fetches the part and shows the last piece that has arrived.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.html import format_html

from shop.http.pages import streamed_responses

SEPARATOR = "\f"
"""Between two pieces, each of which replaces the one before."""


def respond(
    request: HttpRequest,
    template: str,
    steps: Iterable[str],
    context: Callable[[], dict[str, Any]],
    *,
    once: str = "",
) -> HttpResponseBase:
    """Make the steps, each of which says how far it is, and then render the template with the context.

    Of parts with the same `once`, a server makes one at a time for an account; others are 503.
    """

    # A client of HTTP/1.0 gets the whole response at its end: what would have been replaced is of no use.
    shows_steps = request.META.get("SERVER_PROTOCOL") != "HTTP/1.0"

    def pieces() -> Iterator[str]:
        for step in steps:
            if shows_steps:
                yield format_html("<p>{}…</p>", step) + SEPARATOR
        yield render_to_string(template, context(), request)

    return streamed_responses.respond(
        pieces(), account_id=int(request.user.pk or 0), content_type="text/html", once=once
    )
