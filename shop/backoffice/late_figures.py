"""A part of a page whose figures take a while; the page's script (`backoffice/late.js`) fetches it."""

from collections.abc import Generator, Iterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from shop.http.pages import streamed_responses

BLANK = " "
"""Is sent after each part that was read: proxies end a response of which nothing comes for a while."""
Steps = Generator[str, None, dict[str, Any]]
"""Reads figures: yields `BLANK` after some statements, and returns the context of their template."""


def respond(request: HttpRequest, template: str, steps: Steps) -> HttpResponseBase:
    """Go through the steps, and then render the template."""

    def parts() -> Iterator[str]:
        context = yield from steps
        yield render_to_string(template, context, request)

    return streamed_responses.respond(parts(), account_id=int(request.user.pk or 0), content_type="text/html")
