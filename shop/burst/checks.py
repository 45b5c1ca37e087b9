"""The system check that the burst lane passes by nothing that Django's lane applies."""

import re
from collections.abc import Iterator
from inspect import getmembers, isfunction
from typing import Any

from django.conf import global_settings, settings
from django.core.checks import CheckMessage, Error, register, run_checks
from django.core.management.base import SystemCheckError
from rest_framework.permissions import AllowAny, IsAuthenticated, IsAuthenticatedOrReadOnly
from rest_framework.settings import api_settings

from accounts.api_keys.calls import APIKey
from accounts.tokens.authentication import BearerToken
from foundation.http.rest_classes import JSONParser, JSONRenderer, LenientNegotiation, handle_exception

KNOWN_MIDDLEWARE = {
    "foundation.observability.request_metrics.RequestMetricsMiddleware",
    "foundation.http.compression.CompressionMiddleware",
    "foundation.http.pages.middleware.request_id",
    "foundation.http.pages.middleware.choose_language",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "foundation.http.pages.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.signing_in.middleware.require_second_factor",
    "foundation.http.pages.middleware.guard_operators_pages",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "accounts.signing_in.middleware.show_refused_turn",
}
"""Whose work the lane does itself, or that are for pages alone."""
KNOWN: set[type | None] = {APIKey, BearerToken, AllowAny, IsAuthenticated, IsAuthenticatedOrReadOnly}
KNOWN |= {JSONParser, JSONRenderer, LenientNegotiation, None}
KINDS = ("authentication", "permission", "parser", "renderer", "throttle")
SETTINGS = re.compile("SECURE_|USE_X_FORWARDED_|X_FRAME_|PREPEND_WWW|DISALLOWED_|FORCE_SCRIPT_NAME")
"""Of Django's middlewares and of `get_host`; the lane does what their defaults say."""
HINT = "With BURST=0 Django answers every call, and it applies."


@register("firstcome")
def check_burst_lane(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Errors for what the burst lane would pass by; none with `BURST=0`."""
    found = dict.fromkeys(_passed_by()) if settings.BURST else ()
    return [Error(f"The burst lane passes by {one}.", hint=HINT, id="shop.E001") for one in found]


def refuse_to_start() -> None:
    """Raise `SystemCheckError` in a web process that would pass something by."""
    if found := run_checks(tags=["firstcome"]):
        raise SystemCheckError("\n".join(map(str, found)))


def _passed_by() -> Iterator[str]:
    # Views can be imported once all apps are ready.
    from foundation.http.views import View
    from shop.burst.table import CALLS

    hooks = getmembers(View, isfunction)
    yield from (f"the middleware {one}" for one in settings.MIDDLEWARE if one not in KNOWN_MIDDLEWARE)
    for call in CALLS.values():
        named = [one for kind in KINDS for one in getattr(call.view, f"{kind}_classes")]
        named += [call.view.content_negotiation_class, call.view.versioning_class]
        yield from (f"{getattr(one, '__name__', one)} of {call.name}" for one in named if one not in KNOWN)
        yield from (f"{name} of {call.name}" for name, hook in hooks if getattr(call.view, name) is not hook)
    expected = {one: getattr(global_settings, one) for one in filter(SETTINGS.match, dir(global_settings))}
    if settings.HTTPS:
        # The lane sends the one, and reads the other as it is set here.
        expected["SECURE_HSTS_SECONDS"] = settings.SECURE_HSTS_SECONDS
        expected["SECURE_PROXY_SSL_HEADER"] = ("HTTP_X_FORWARDED_PROTO", "https")
    yield from (f"the setting {one}" for one, value in expected.items() if getattr(settings, one) != value)
    if api_settings.EXCEPTION_HANDLER is not handle_exception:
        yield "another EXCEPTION_HANDLER than its own"
