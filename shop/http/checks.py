"""System checks: what the dispatch of API calls would ignore, as a throttle on a view, stops the process.

docs/api-calls.md says part by part what applies. The checks refuse by default: whatever Django's and REST
framework's view classes know, now or in a later version, is an error unless it is listed here as used.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import CodeType
from typing import Any
from weakref import ReferenceType

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import connections
from django.dispatch import Signal
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver
from rest_framework import permissions
from rest_framework.generics import GenericAPIView

from shop.accounts import authentication
from shop.http import views

DISPATCH_MIDDLEWARE = "shop.http.pages.middleware.dispatch_api_calls"
PAGE_ONLY_MIDDLEWARE = {
    "shop.observability.request_metrics.RequestMetricsMiddleware",
    "shop.http.pages.middleware.request_id",
    "shop.http.pages.middleware.choose_language",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "shop.http.pages.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "shop.http.pages.middleware.guard_operators_pages",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "shop.admin_base.sign_in.show_refused_turn",
}
"""Middlewares that calls of the API do without, or whose work `shop.http.views.answer_call` does for them."""

USED = {"allowed_methods", "http_method_names", "schema", *views.View.http_method_names}
"""What `shop.http.views` and the OpenAPI document take from a view, besides `ALLOWED_VIEW_ATTRIBUTES`."""

ALLOWED_VIEW_ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "authentication_classes": ([authentication.BearerToken], []),
    "permission_classes": (
        [permissions.IsAuthenticated],
        [permissions.IsAuthenticatedOrReadOnly],
        [permissions.AllowAny],
        [],
    ),
}
"""What a view may say of itself, because it comes to that anyway.

Any other permission would be answered 401, never 403, and its `has_object_permission` and `message` ignored.
"""

READ_BY_PLUGINS = {
    "filterset_class",
    "filterset_fields",
    "login_url",
    "ordering",
    "ordering_fields",
    "permission_required",
    "raise_exception",
    "search_fields",
    "throttle_scope",
}
"""Attributes that throttles, filter backends and Django's mixins read, and no view class defines."""

IGNORED = (
    {name for name in dir(GenericAPIView) if not name.startswith("_")} - USED - ALLOWED_VIEW_ATTRIBUTES.keys()
)
FRAMEWORKS = ("django", "rest_framework")
"""How the names of modules begin whose base classes and decorators calls of the API know nothing of."""

ASSUMED = {
    "APPEND_SLASH": False,
    "DISALLOWED_USER_AGENTS": [],
    "FORCE_SCRIPT_NAME": None,
    "PREPEND_WWW": False,
    "SECURE_CONTENT_TYPE_NOSNIFF": True,
    "SECURE_CROSS_ORIGIN_OPENER_POLICY": "same-origin",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": False,
    "SECURE_HSTS_PRELOAD": False,
    "SECURE_REFERRER_POLICY": "same-origin",
    "SECURE_SSL_REDIRECT": False,
    "USE_X_FORWARDED_HOST": False,
    "USE_X_FORWARDED_PORT": False,
    "X_FRAME_OPTIONS": "DENY",
}
"""Django's settings that calls of the API don't read, with the values that they behave by."""

ASSUMED_IN_REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["shop.accounts.authentication.BearerToken"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "shop.http.openapi.openapi_generation.Operations",
}

NOT_SENT: Mapping[str, Signal] = {
    "request_started": request_started,
    "request_finished": request_finished,
    "got_request_exception": got_request_exception,
}
"""Signals that the web server sends for pages only."""

PROBES = ("", "unknown", "unknown/unknown")
"""Paths below the API that no view has: an address for everything would take them, and calls with them."""
HINTS = {
    1: "Calls that Django's test client and runserver make need it.",
    2: "Do in shop.http.views what it is for, or name it in shop.http.checks.PAGE_ONLY_MIDDLEWARE.",
    3: "Middlewares for pages, as the one against forged forms, don't guard it.",
    4: "Do in the view's method what it is for, or teach shop.http.views.",
    5: "Do in the view's method, or in a subclass of the view, what it is for.",
    6: "Do in the method what it is for.",
    7: "Do in shop.http what it is for, then say so in shop.http.checks; docs/api-calls.md says where.",
    8: "Do in shop.http.views.answer_call what it is for.",
    9: "Say what it is about, or that no key may call it: shop.scopes.Resource.",
}
"""By the number of the check, what to do instead."""
Found = Iterator[tuple[int, str]]
"""The numbers of the checks that fail, and what they found."""


@register("firstcome")
def check_ignored_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """What calls of the API would ignore, as errors of Django's system checks."""
    found = [*_check_middleware(settings.MIDDLEWARE), *_settings(), *_receivers(), *_check_views()]
    return [Error(text, hint=HINTS[number], id=f"shop.E00{number}") for number, text in found]


def refuse_ignored_settings() -> None:
    """Return when a web process may serve. Raises `ImproperlyConfigured`."""
    wrong = check_ignored_settings()
    if wrong:
        raise ImproperlyConfigured(" ".join(f"{message.msg} {message.hint}" for message in wrong))


def _check_middleware(names: Sequence[str]) -> Found:
    if DISPATCH_MIDDLEWARE not in names:
        yield 1, f"MIDDLEWARE lacks {DISPATCH_MIDDLEWARE}."
    for name in names:
        if name not in PAGE_ONLY_MIDDLEWARE | {DISPATCH_MIDDLEWARE}:
            yield 2, f"MIDDLEWARE has {name}, which calls of the API don't pass."


def _settings() -> Found:
    rest, databases = settings.REST_FRAMEWORK.items(), connections.settings.items()
    for name in (
        *(name for name, assumed in ASSUMED.items() if getattr(settings, name) != assumed),
        *(
            f"REST_FRAMEWORK[{name!r}]"
            for name, value in rest
            if value != ASSUMED_IN_REST_FRAMEWORK.get(name)
        ),
        *(f"DATABASES[{alias!r}]['ATOMIC_REQUESTS']" for alias, one in databases if one["ATOMIC_REQUESTS"]),
    ):
        yield 7, f"{name} is set, which calls of the API don't follow."


def _receivers() -> Found:
    for name, signal in NOT_SENT.items():
        # Django keeps most receivers by weak references.
        kept = [entry[1] for entry in signal.receivers]
        found = [reference() if isinstance(reference, ReferenceType) else reference for reference in kept]
        for receiver in filter(None, found):
            if not receiver.__module__.startswith("django."):
                title = f"{receiver.__module__}.{receiver.__qualname__}"
                yield 8, f"{title} receives {name}, which isn't sent for calls of the API."


def _check_views() -> Found:
    for path, callback in [*_api_routes(get_resolver().url_patterns, ""), *_catch_alls()]:
        view: Any = getattr(callback, "view_class", None)
        if view is None or not issubclass(view, views.View):
            yield 3, f"The view at {path} is no shop.http.views.View."
            continue
        if _layers(callback) != _layers(views.View.as_view()):
            yield 5, f"The view at {path} is decorated, and shop.http.views calls its class."
        if callback.view_initkwargs:
            yield 5, f"as_view at {path} is given {', '.join(callback.view_initkwargs)}, which is ignored."
        yield from _check_view(path, view)


def _layers(callback: Any) -> list[CodeType | None]:
    """The code of a function and of those that it wraps: `as_view` makes the same two for every class."""
    layers = []
    while callback is not None:
        layers.append(getattr(callback, "__code__", None))
        callback = getattr(callback, "__wrapped__", None)
    return layers


def _check_view(path: str, view: type[views.View]) -> Found:
    title = f"{view.__name__} at {path}"
    kinds = [kind for kind in view.__mro__ if kind not in views.View.__mro__]
    foreign = [kind for kind in kinds if kind.__module__.startswith(FRAMEWORKS)]
    declared = {name for kind in kinds if kind not in foreign for name in vars(kind)}
    differing = sorted(declared & (IGNORED | READ_BY_PLUGINS))
    for name, allowed in ALLOWED_VIEW_ATTRIBUTES.items():
        value = getattr(view, name)
        if ([*value] if isinstance(value, Sequence) else value) not in allowed:
            differing.append(name)
    for name in differing:
        yield 4, f"{title} has its own {name}, which shop.http.views ignores."
    for kind in foreign:
        yield 4, f"{title} inherits {kind.__module__}.{kind.__name__}, which has no effect."
    if view.resource is None:
        yield 9, f"{title} has no resource, so no API key has a scope for it."
    for name in view.http_method_names:
        method = getattr(view, name, None)
        if method is not None and _is_wrapped_in_vain(method):
            yield 6, f"{view.__name__}.{name} at {path} has a decorator that knows no calls of the API."


def _is_wrapped_in_vain(method: Any) -> bool:
    """Decorators of Django's views want its request and response, and most know no coroutine."""
    inner = inspect.unwrap(method)
    if inspect.iscoroutinefunction(inner) and not inspect.iscoroutinefunction(method):
        return True
    while method is not inner:
        if getattr(method, "__globals__", {}).get("__name__", "").startswith(FRAMEWORKS):
            return True
        method = method.__wrapped__
    return False


def _api_routes(patterns: Sequence[URLPattern | URLResolver], before: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = f"{before}/{str(pattern.pattern).removeprefix('^')}".replace("//", "/")
        if isinstance(pattern, URLResolver):
            yield from _api_routes(pattern.url_patterns, path)
        elif path.startswith(views.API_PREFIX):
            yield path, pattern.callback


def _catch_alls() -> Iterator[tuple[str, Any]]:
    """Views that take paths of the API which are nothing's, and no class of ours gives."""
    for probe in PROBES:
        with suppress(Resolver404):
            yield f"{views.API_PREFIX}{probe}", get_resolver().resolve(f"{views.API_PREFIX}{probe}").func
