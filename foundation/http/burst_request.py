"""The request of a call in the burst lane, at a tenth of the cost of Django's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import TooManyFieldsSent
from django.http import QueryDict
from django.utils.encoding import escape_uri_path, iri_to_uri

from foundation.account import Account
from foundation.http import json_format, languages, messages
from foundation.http.request_body import Headers

LONGEST_QUERY = 4_096
"""Escapes take 350 ns each on the event loop."""
NOT_READ = object()
ANONYMOUS = AnonymousUser()


@dataclass(slots=True, eq=False)
class BurstRequest:
    """One call; header names are lower-case bytes."""

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
        return languages.choose(self.header("Accept-Language"))

    def header(self, name: str) -> str | None:
        value = self.fields.get(messages.field_name(name))
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
