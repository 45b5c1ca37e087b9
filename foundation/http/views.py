"""API views: REST framework's, with the scopes of API keys and the query parameters that the OpenAPI document
has of a call, and methods that the burst lane may call too.
"""

from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from functools import partial, wraps
from typing import Any

from django.urls import URLPattern, path
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation.concurrency import event_loop
from foundation.http import json_format, keyed_calls, validation
from foundation.http.messages import APIRequest, JSONResponse, Request
from foundation.rates.rate_limits import RateLimit
from foundation.scopes import Resource, required_scope

__all__ = ["JSONResponse", "Request", "Response", "View", "burst", "routes"]
API_PREFIX = "/api/v1/"
PUBLIC_METHODS = {"GET", "HEAD"}
WITHOUT_KEYS = (f"{API_PREFIX}auth/", f"{API_PREFIX}users/me/password")
"""Calls of an account that honour no `Idempotency-Key`: their answers are tokens, or judge a password."""


def is_private(method: str | None, *, has_authorization: bool) -> bool:
    """Whether no cache may store the response: it is to a token, or to a request that changes something."""
    return method not in PUBLIC_METHODS or has_authorization


def burst(handler: Callable[..., Coroutine[Any, Any, JSONResponse]]) -> Callable[..., JSONResponse]:
    """A view's method that `shop.burst` runs on the event loop, where it must not block: it waits by
    `foundation.concurrency.event_loop`. In Django's lane it blocks its thread in these waits.
    """

    @wraps(handler)
    def method(view: Any, request: Request, **arguments: Any) -> JSONResponse:
        require_few_values(request)
        return event_loop.run_blocking(handler(view, request, **arguments))

    method.reads_key = True  # type: ignore[attr-defined]
    return method


def require_few_values(request: Request) -> None:
    """Raise `Invalid` for a body with more values than any call on the event loop needs."""
    if request.method == "POST" and json_format.has_many_values(request.data):
        raise json_format.too_many_values()


# Without a docstring, because the OpenAPI document would repeat it for every call.
class View(APIView):
    # What the view is about, for the scopes of API keys; no key may call one that doesn't say.
    resource = Resource.NONE
    # The scopes that its calls by a method need besides.
    further_scopes: Mapping[str, str] = {}
    # By which its address is looked up.
    address_name: str | None = None
    # Whether its calls may have parameters that they don't read.
    ignores_query = False
    # The limit of an account that its POST counts against, and tells.
    limit: RateLimit | None = None
    # Whether all that its POST does is one transaction, so that its answer to a key can be recorded in it.
    is_one_transaction = True

    @classmethod
    def required_scopes(cls, method: str) -> str:
        """The scopes that a key needs for such a call, between spaces; empty if no key may make it."""
        scope = required_scope(cls.resource, method)
        return f"{scope} {cls.further_scopes.get(method, '')}".strip()

    @classmethod
    def refuse_unknown_parameters(cls, request: Request) -> None:
        """Raise `Invalid` for those that `api_doc.extend_schema` doesn't declare of the call."""
        if cls.ignores_query or request.method == "OPTIONS":
            return
        method = getattr(cls, "get" if request.method == "HEAD" else request.method.lower())
        validation.refuse_unknown_parameters(request, getattr(method, "query_parameters", ()))

    @classmethod
    def add_limit(cls, request: Any, headers: MutableMapping[str, str]) -> None:
        """Add the fields of the limit to the headers of a response, if the call counted: staff's and replays
        don't.
        """
        if cls.limit is None or request.method != "POST" or "Idempotency-Replayed" in headers:
            return
        if request.user.pk is not None and not request.user.is_staff:
            for name, value in cls.limit.headers(request.user.pk).items():
                headers[name] = value

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {}

    def options(self, request: Request, **arguments: Any) -> Response:  # type: ignore[override]
        """Respond with the methods that the view has."""
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    def perform_content_negotiation(self, request: Any, force: bool = False) -> Any:
        """JSON for a client that accepts nothing that is there, as the contract says."""
        return super().perform_content_negotiation(request, force=True)

    def initialize_request(self, request: Any, *arguments: Any, **named: Any) -> APIRequest:
        return APIRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def initial(self, request: Any, *arguments: Any, **named: Any) -> None:
        # Before authentication: 405 is true for everybody.
        if not hasattr(self, request.method.lower()):
            self.http_method_not_allowed(request)
        super().initial(request, *arguments, **named)
        self.refuse_unknown_parameters(request)
        has_key = request.method == "POST" and request.header("Idempotency-Key") is not None
        view: Any = self
        if (
            has_key
            and request.user.pk is not None
            and not request.path.startswith(WITHOUT_KEYS)
            and not hasattr(view.post, "reads_key")
        ):
            # REST framework calls the method of the instance.
            view.post = partial(
                keyed_calls.answer_once, handler=view.post, is_one_transaction=self.is_one_transaction
            )

    def finalize_response(self, request: Any, response: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(response, JSONResponse):
            response = response.to_django()
        # A request whose authentication was refused has none, and would ask for it again.
        if hasattr(request, "_user"):
            self.add_limit(request, response.headers)
        return super().finalize_response(request, response, *arguments, **named)


def routes(views: Mapping[str, type[View]]) -> list[URLPattern]:
    """An app's part of the URLs, by the addresses of its views below `/api/v1/`."""
    return [path(address, view.as_view(), name=view.address_name) for address, view in views.items()]
