"""The request and the response of an API call, at a tenth of the cost of Django's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse, QueryDict
from django.utils.datastructures import CaseInsensitiveMapping
from django.utils.encoding import escape_uri_path

from shop.account import Account
from shop.errors import Invalid, NotAuthenticated
from shop.http import json_format, languages
from shop.lazy_texts import mark as _

NOT_READ = object()
ANONYMOUS = AnonymousUser()
JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json"


@dataclass(slots=True, eq=False)
class Request:
    """One call; header names are lower-case bytes, and `mount` is ASGI's `root_path`."""

    method: str
    path: str
    fields: Mapping[bytes, bytes]
    body: bytes
    query: bytes = b""
    peer: str = ""
    scheme: str = "http"
    mount: str = ""
    user: Account | AnonymousUser = ANONYMOUS
    _data: Any = field(default=NOT_READ, init=False)
    _query: QueryDict | None = field(default=None, init=False)

    @property
    def data(self) -> Any:
        """The JSON value of the body; an empty body is `{}`. Raises what `json_format.parse` raises."""
        if self._data is NOT_READ:
            self._data = json_format.parse(self.body, self.header("Content-Type") or "")
        return self._data

    def require_few_values(self) -> None:
        """Raise `Invalid` for a body with more values than any call on the event loop needs."""
        if json_format.has_many_values(self.body):
            # What is wrong with the body as JSON is reported first.
            _parsed = self.data
            detail = _("The body has more values than this call can use.")
            raise Invalid(detail, errors=[{"field": "", "code": "too_many_values", "detail": detail}])

    @property
    def language(self) -> str:
        return languages.choose(self.header("Accept-Language"))

    def header(self, name: str) -> str | None:
        value = self.fields.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    @property
    def headers(self) -> Mapping[str, str]:
        return CaseInsensitiveMapping(
            {name.decode("latin-1"): value.decode("latin-1") for name, value in self.fields.items()}
        )

    @property
    def query_params(self) -> Mapping[str, str]:
        """The parameters of the query string. Raises `Invalid` for one that is not UTF-8 text."""
        if self._query is None:
            try:
                self._query = QueryDict(self.query.decode("latin-1"))
            except UnicodeError:
                raise Invalid(_("The query can't be read.")) from None
        return self._query

    def build_absolute_uri(self) -> str:
        """This call's own URL, from which lists build their page links."""
        is_forwarded = settings.HTTPS and self.header("X-Forwarded-Proto") == "https"
        query = f"?{self.query.decode('latin-1')}" if self.query else ""
        scheme = "https" if is_forwarded else self.scheme
        return f"{scheme}://{self.header('Host')}{escape_uri_path(self.path)}{query}"


def caller_id(request: Request) -> int:
    """The id of the calling account; of an API key alone, its maker's. Raises `NotAuthenticated`."""
    if request.user.pk is None:
        raise NotAuthenticated(_("Sign in to do that."))
    return request.user.pk


def account_id(request: Request) -> int:
    """The id of the account whose own rows the call is about.

    Raises `NotAuthenticated`, and `Invalid` (`account_required`) for an API key that acts for no account.
    """
    own = caller_id(request)
    key = request.user.key if isinstance(request.user, Account) else None
    if key is not None and not key.is_acting:
        raise Invalid(
            _("This call is about an account's own: name it in the header Firstcome-Account."),
            code="account_required",
        )
    return own


class Response:
    """A JSON response; None has no body. `code` is that of a problem, else empty."""

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
    ) -> "Response":
        response = cls(None, status, headers)
        response.body = body
        response.headers["Content-Type"] = content_type
        return response

    def to_django(self) -> HttpResponse:
        response = HttpResponse(self.body, status=self.status_code, headers=self.headers)
        if "Content-Type" not in self.headers:
            del response["Content-Type"]
        return response
