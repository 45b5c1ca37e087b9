"""Calls of the API as views read them in both lanes, and responses that are rendered already."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import rest_framework.request
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse

from foundation.account import Account
from foundation.errors import Invalid, NotAuthenticated
from foundation.http import json_format, languages
from foundation.lazy_texts import mark

JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json"
EncodedHeaders = Sequence[tuple[bytes, bytes]]


class Request(Protocol):
    """What both lanes know of a call, `APIRequest` in Django's and `BurstRequest` in the other.

    `data` is the JSON value of the body, `{}` without one; it and `query_params` raise `FirstcomeError`.
    """

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def user(self) -> Account | AnonymousUser: ...
    @property
    def data(self) -> Any: ...
    @property
    def query_params(self) -> Mapping[str, str]: ...
    @property
    def language(self) -> str: ...
    @property
    def peer(self) -> str: ...
    def header(self, name: str) -> str | None: ...
    def build_absolute_uri(self) -> str: ...


class APIRequest(rest_framework.request.Request):
    """A call in Django's lane."""

    @property
    def language(self) -> str:
        return languages.choose(self.header("Accept-Language"))

    @property
    def peer(self) -> str:
        return str(self.META.get("REMOTE_ADDR", ""))

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


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

    async def send(self, send: Callable[[dict[str, Any]], Awaitable[None]], more: EncodedHeaders) -> None:
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
