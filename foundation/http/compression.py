"""Larger answers to GET calls of the API are compressed, for clients that take gzip.

They have no secret that their length could tell bit by bit (BREACH): tokens and secrets are answers to POST.
Pages below /admin/ are not compressed: they show what a stranger has chosen beside what is the operators'.
Their lists are, with a random length: they have no secret but a CSRF token, which is masked anew each time.
"""

import gzip
import re
from contextlib import suppress
from typing import Any

from django.http import HttpRequest
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers

from foundation.concurrency import event_loop
from foundation.errors import Overloaded
from foundation.http.messages import JSONResponse, Request

API_PATHS = "/api/"
ENCODING = "Accept-Encoding"
SMALLEST_BYTES = 1_400
"""What is smaller fits into one packet anyway."""
FASTEST = 1
"""At a third of the time of the usual level, for a tenth more bytes of JSON."""
TAKES_GZIP = re.compile(r"(?:^|,) *gzip *(?:$|,|;(?! *q=0(?:\.0*)? *(?:$|,)))", re.IGNORECASE)
LONGEST_HEADER = 1_024


def compress(body: bytes) -> bytes:
    return gzip.compress(body, FASTEST, mtime=0)


def is_taken(accept_encoding: str | None) -> bool:
    """Whether a client with this `Accept-Encoding` takes gzip."""
    header = accept_encoding or ""
    return len(header) <= LONGEST_HEADER and TAKES_GZIP.search(header) is not None


async def compress_for(request: Request, response: JSONResponse) -> None:
    """Compress the response of the burst lane to a GET call in a thread, unless it is compressed or short, or
    no thread is free.
    """
    headers = response.headers
    if len(response.body) < SMALLEST_BYTES or "Content-Encoding" in headers:
        return
    if ENCODING not in (vary := headers.get("Vary", "")):
        headers["Vary"] = f"{vary}, {ENCODING}" if vary else ENCODING
    if is_taken(request.header(ENCODING)):
        with suppress(Overloaded):
            response.body = await event_loop.run_in_thread(compress, response.body, group="compression")
            headers["Content-Encoding"] = "gzip"


class CompressionMiddleware(GZipMiddleware):
    """Django's, for these answers alone."""

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        is_call = request.method == "GET" and request.path_info.startswith(API_PATHS)
        if not is_call or response.streaming or len(response.content) < SMALLEST_BYTES:
            return response
        if is_taken(request.headers.get(ENCODING)):
            return super().process_response(request, response)
        patch_vary_headers(response, [ENCODING])
        return response
