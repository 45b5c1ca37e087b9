"""System checks: settings that API dispatch ignores stop the process at its start.

The web server's calls of the API pass no middleware, and `shop.http.views` leaves out most of what REST
framework's own dispatch does. A throttle on a view, or a middleware for every request, would look right there
and do nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.views import APIView

from shop.accounts import authentication
from shop.http import json_format, views

DISPATCH_MIDDLEWARE = "shop.http.views.dispatch_api_calls"
PAGE_ONLY_MIDDLEWARE = {
    "shop.http.middleware.convert_html_errors",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "shop.http.middleware.receive_staff_uploads",
    "shop.http.middleware.identify_operator",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
}
"""Middlewares that calls of the API do without."""

DONE_BY_DISPATCH = {
    "shop.observability.request_metrics.RequestMetricsMiddleware",
    "shop.http.middleware.request_id",
    DISPATCH_MIDDLEWARE,
}
"""Middlewares whose work `shop.http.views` does for the web server's calls."""

ALLOWED_VIEW_ATTRIBUTES: dict[str, tuple[Sequence[Any], ...]] = {
    "throttle_classes": ([],),
    "parser_classes": ([JSONParser],),
    "renderer_classes": ([JSONRenderer],),
    "authentication_classes": ([authentication.BearerToken], []),
}
"""What a view may say of itself, because it comes to that anyway."""

UNUSED_DISPATCH_METHODS = (
    "initial",
    "initialize_request",
    "finalize_response",
    "handle_exception",
    "check_throttles",
    "check_permissions",
    "perform_authentication",
    "perform_content_negotiation",
    "determine_version",
    "get_throttles",
    "get_parsers",
    "get_renderers",
    "get_permissions",
    "get_authenticators",
)
"""Methods of REST framework's dispatch."""


@register("firstcome")
def check_ignored_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """What calls of the API would ignore, as errors of Django's system checks."""
    return [*_check_middleware(settings.MIDDLEWARE), *_check_views()]


def refuse_ignored_settings() -> None:
    """Return when a web process may serve. Raises `ImproperlyConfigured`."""
    wrong = check_ignored_settings()
    if wrong:
        raise ImproperlyConfigured(" ".join(f"{message.msg} {message.hint}" for message in wrong))


def _check_middleware(names: Sequence[str]) -> Iterator[CheckMessage]:
    if DISPATCH_MIDDLEWARE not in names:
        hint = "Calls that Django's test client and runserver make need it."
        yield Error(f"MIDDLEWARE lacks {DISPATCH_MIDDLEWARE}.", hint=hint, id="shop.E001")
    for name in names:
        if name not in PAGE_ONLY_MIDDLEWARE | DONE_BY_DISPATCH:
            yield Error(
                f"MIDDLEWARE has {name}, which calls of the API don't pass.",
                hint="Do in shop.http.views what it is for, or name it in shop.checks.PAGE_ONLY_MIDDLEWARE.",
                id="shop.E002",
            )


def _check_views() -> Iterator[CheckMessage]:
    for path, callback in _api_routes(get_resolver().url_patterns, ""):
        view = getattr(callback, "view_class", None)
        if view is None or not issubclass(view, views.View):
            yield Error(
                f"The view at {path} is no shop.http.views.View.",
                hint="Middlewares for pages, as the one against forged forms, don't guard it.",
                id="shop.E003",
            )
        else:
            yield from _check_view(path, view)


def _check_view(path: str, view: type[APIView]) -> Iterator[CheckMessage]:
    differing = [
        name for name, allowed in ALLOWED_VIEW_ATTRIBUTES.items() if list(getattr(view, name)) not in allowed
    ]
    if view.content_negotiation_class is not json_format.AlwaysJSON:
        differing.append("content_negotiation_class")
    if view.versioning_class is not None:
        differing.append("versioning_class")
    differing += [
        name for name in UNUSED_DISPATCH_METHODS if getattr(view, name) is not getattr(views.View, name)
    ]
    for name in differing:
        yield Error(
            f"{view.__name__} at {path} has its own {name}, which shop.http.views ignores.",
            hint="Do in the view's method what it is for, or teach shop.http.views.",
            id="shop.E004",
        )


def _api_routes(patterns: Sequence[URLPattern | URLResolver], before: str) -> Iterator[tuple[str, Any]]:
    """The path and the view of each address of the API."""
    for pattern in patterns:
        path = f"{before}/{pattern.pattern}".replace("//", "/")
        if isinstance(pattern, URLResolver):
            yield from _api_routes(pattern.url_patterns, path)
        elif path.startswith(views.API_PREFIX):
            yield path, pattern.callback
