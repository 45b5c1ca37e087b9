"""Calls of the API as views read them in both lanes, and responses that are rendered already."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import rest_framework.request
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import TooManyFieldsSent
from django.http import HttpResponse, QueryDict
from django.utils.encoding import escape_uri_path, iri_to_uri

from foundation.account import Account
from foundation.errors import Invalid, NotAuthenticated
from foundation.http import json_format, preferences
from foundation.http.request_body import Headers
from foundation.lazy_texts import mark
from foundation.values import Values

JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json"
EncodedHeaders = Sequence[tuple[bytes, bytes]]
LONGEST_QUERY = 4_096
"""Escapes take 350 ns each on the event loop."""
NOT_READ = object()
ANONYMOUS = AnonymousUser()


class APIRequest(rest_framework.request.Request):
    """A call in Django's lane."""

    method: str

    @property
    def language(self) -> str:
        return preferences.choose_language(self.header("Accept-Language"))

    @property
    def peer(self) -> str:
        return str(self.META.get("REMOTE_ADDR", ""))

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


@dataclass(slots=True, eq=False)
class BurstRequest:
    """A call in the burst lane, at a tenth of the cost of Django's; header names are lower-case bytes."""

    method: str
    path: str
    fields: Headers
    body: bytes
    query: bytes = b""
    peer: str = ""
    scheme: str = "http"
    user: Account | AnonymousUser = ANONYMOUS
    _data: Any = field(default=NOT_READ, init=False)
    _query: QueryDict | None = field(default=None, init=False)

    @property
    def data(self) -> Any:
        """The JSON value of the body; an empty body is `{}`. Raises what `json_format.parse` raises."""
        if self._data is NOT_READ:
            self._data = json_format.parse(self.body, self.header("Content-Type") or "")
        return self._data

    @property
    def language(self) -> str:
        return preferences.choose_language(self.header("Accept-Language"))

    def header(self, name: str) -> str | None:
        value = self.fields.get(field_name(name))
        return None if value is None else value.decode("latin-1")

    @property
    def query_params(self) -> Mapping[str, str]:
        """The parameters of the query string. Raises `TooManyFieldsSent`."""
        if len(self.query) > LONGEST_QUERY:
            raise TooManyFieldsSent("The query string is too long.")
        if self._query is None:
            self._query = QueryDict(self.query.decode(errors="replace"))
        return self._query

    def build_absolute_uri(self) -> str:
        """This call's own URL, from which lists build their page links."""
        is_forwarded = settings.HTTPS and self.header("X-Forwarded-Proto") == "https"
        query = f"?{iri_to_uri(self.query.decode(errors='replace'))}" if self.query else ""
        scheme = "https" if is_forwarded else self.scheme
        return f"{scheme}://{self.header('Host')}{escape_uri_path(self.path)}{query}"


Request = APIRequest | BurstRequest
"""A call in either lane. `data` is the JSON value of the body, `{}` without one; it and `query_params` raise
`FirstcomeError`.
"""


def caller_id(request: Request) -> int:
    """The id of the calling account; of an API key alone, its maker's. Raises `NotAuthenticated`."""
    if (own := request.user.pk) is None:
        raise NotAuthenticated(mark("Sign in to do that."))
    return own


def account_id(request: Request) -> int:
    """The id of the account whose own rows the call is about.

    Raises `NotAuthenticated`, and `Invalid` (`account_required`) for an API key that acts for no account.
    """
    own = caller_id(request)
    key = request.user.key if isinstance(request.user, Account) else None
    if key is not None and not key.is_acting:
        raise Invalid(
            mark("This call is about an account's own: name it in the header Firstcome-Account."),
            code="account_required",
        )
    return own


@cache
def field_name(name: str) -> bytes:
    """As ASGI has it."""
    return name.lower().encode()


def with_request_id(problem: bytes, request_id: str) -> bytes:
    """The rendered problem with the request's id as its last member, unless it names one.

    A replay is not named again: it has the request that was answered first, or none, recorded by release 2.0.
    """
    if b'"request_id":"' in problem:
        return problem
    return b'%s,"request_id":"%s"}' % (problem[:-1], request_id.encode())


class JSONResponse:
    """A rendered response; None has no body. `code` is that of a problem, else empty."""

    __slots__ = ("body", "code", "headers", "status_code")

    def __init__(self, data: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        self.code = ""
        self.headers: dict[str, str] = dict(headers) if headers else {}
        if data is None:
            self.body = b""
        else:
            self.body = json_format.dump(data)
            self.headers["Content-Type"] = JSON

    @classmethod
    def from_json(
        cls, body: bytes, status: int, content_type: str, headers: Mapping[str, str] | None = None
    ) -> "JSONResponse":
        response = cls(None, status, headers)
        response.body = body
        response.headers["Content-Type"] = content_type
        return response

    def name_request(self, request_id: str) -> None:
        """Name the request in `X-Request-ID`, and in a problem that is no replay."""
        self.headers["X-Request-ID"] = request_id
        if self.code and "Idempotency-Replayed" not in self.headers:
            self.body = with_request_id(self.body, request_id)

    async def send(self, send: Callable[[Values], Awaitable[None]], more: EncodedHeaders) -> None:
        """Send it by ASGI, with its length and these headers besides."""
        headers = [(field_name(name), value.encode("latin-1")) for name, value in self.headers.items()]
        headers += more
        if self.status_code not in (204, 304):
            headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})

    def to_django(self) -> HttpResponse:
        response = HttpResponse(self.body, status=self.status_code, headers=self.headers)
        if "Content-Type" not in self.headers:
            del response["Content-Type"]
        response.problem_code = self.code  # type: ignore[attr-defined]
        return response
