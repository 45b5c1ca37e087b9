"""The response of an API call: a status, headers and bytes, at a tenth of the cost of Django's response."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse

from shop.http import json_format

JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json"


class Response:
    """A JSON response; None has no body. `from_json` takes a body that is JSON text already."""

    __slots__ = ("body", "headers", "status_code")

    def __init__(self, data: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
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
        """A response whose body is JSON text already."""
        response = cls(None, status, headers)
        response.body = body
        response.headers["Content-Type"] = content_type
        return response

    def to_django(self) -> HttpResponse:
        """The same as a Django response, for middlewares and the test client."""
        headers = dict(self.headers)
        content_type = headers.pop("Content-Type", None)
        response = HttpResponse(
            self.body, status=self.status_code, content_type=content_type, headers=headers
        )
        if content_type is None:
            del response["Content-Type"]
        return response
