"""A part of a page whose figures take a while; the page's script (`backoffice/late.js`) fetches it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from shop.http.pages import streamed_responses


def respond(
    request: HttpRequest, template: str, steps: Iterable[object], context: Callable[[], dict[str, Any]]
) -> HttpResponseBase:
    """Go through the steps, each of some statements, and then render the template with the context."""

    def parts() -> Iterator[str]:
        for _ in steps:
            # Proxies end a response of which nothing comes for a while.
            yield " "
        yield render_to_string(template, context(), request)

    return streamed_responses.respond(parts(), account_id=int(request.user.pk or 0), content_type="text/html")
