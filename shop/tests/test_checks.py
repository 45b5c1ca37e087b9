"""Nothing that calls of the API would ignore gets as far as being served."""

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_page, never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from rest_framework.authentication import SessionAuthentication
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin, UpdateModelMixin
from rest_framework.permissions import AllowAny, IsAdminUser
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

import shop.urls  # noqa: F401 - its pages load the middlewares of the settings
from shop.http import checks, views
from shop.http.views import Request, Response
from shop.models import JournalLine
from shop.scopes import Resource
from shop.tests.cases import check_each

urlpatterns: list[Any] = []
"""Of this module as a URL configuration; each test puts its view there."""


class View(views.View):
    """A view that says what it is about."""

    resource = Resource.ORDERS


def failed_checks(view: Any, settings: LazySettings) -> list[str]:
    """The checks that fail with this view at an address of the API."""
    urlpatterns[:] = [path("api/v1/new", view)]
    settings.ROOT_URLCONF = __name__
    return [str(message.id) for message in run_checks() if str(message.id).startswith("shop.")]


def view_with(**attributes: Any) -> Any:
    return type("New", (View,), attributes).as_view()  # type: ignore[attr-defined]


DECLARATIONS: list[dict[str, Any]] = [
    {"throttle_classes": [UserRateThrottle]},
    {"authentication_classes": [SessionAuthentication]},
    {"permission_classes": [IsAdminUser]},
    {"throttle_scope": "burst"},
    {"queryset": JournalLine.objects.all()},
    {"get_throttles": lambda self: [UserRateThrottle()]},
    {"check_permissions": lambda self, request: None},
    {"default_response_headers": {"Vary": "Accept"}},
    {"dispatch": lambda self, request: None},
    {"as_view": classmethod(lambda cls: None)},
]


def test_a_view_with_what_the_dispatch_ignores_fails_at_the_start(settings: LazySettings) -> None:
    def fails(attributes: dict[str, Any]) -> None:
        [name] = attributes
        kind = type("New", (View,), attributes)
        assert failed_checks(View.as_view.__func__(kind), settings) == ["shop.E004"]
        with pytest.raises(ImproperlyConfigured, match=f"New at /api/v1/new has its own {name}"):
            checks.refuse_ignored_settings()

    check_each(DECLARATIONS, fails)


def test_a_mixin_of_the_frameworks_fails_at_the_start(settings: LazySettings) -> None:
    def fails(mixin: type) -> None:
        bases = (mixin, View) if mixin is not GenericAPIView else (View, mixin)
        kind: Any = type("New", bases, {})
        assert set(failed_checks(View.as_view.__func__(kind), settings)) == {"shop.E004"}
        with pytest.raises(ImproperlyConfigured, match=f"inherits {mixin.__module__}.{mixin.__name__}"):
            checks.refuse_ignored_settings()

    check_each([LoginRequiredMixin, ListModelMixin, GenericAPIView, UpdateModelMixin], fails)


class Answering(View):
    def get(self, request: Request) -> Response:
        return Response({"status": "plain"})


class Waiting(View):
    async def get(self, request: Request) -> Response:
        return Response({"status": "awaited"})


def test_a_decorated_method_fails_at_the_start(settings: LazySettings) -> None:
    decorators = [
        method_decorator(cache_page(60)),
        method_decorator(csrf_protect),
        never_cache,
        login_required,
        transaction.atomic,
    ]

    def fails(decorator: Callable[[Any], Any], kind: Any) -> None:
        view = type("New", (View,), {"get": decorator(kind.get)}).as_view()  # type: ignore[attr-defined]
        # A transaction around a plain method is one.
        works = decorator is transaction.atomic and kind is Answering
        assert failed_checks(view, settings) == ([] if works else ["shop.E006"])

    check_each(product(decorators, [Answering, Waiting]), fails)


def test_a_decorator_around_the_view_fails_at_the_start(settings: LazySettings) -> None:
    decorators = [
        cache_page(60),
        never_cache,
        login_required,
        csrf_exempt,
        transaction.atomic,
    ]

    def fails(decorator: Callable[[Any], Any]) -> None:
        assert failed_checks(decorator(Answering.as_view()), settings) == ["shop.E005"]

    check_each(decorators, fails)


def test_a_view_may_say_what_the_dispatch_does_look_at(settings: LazySettings) -> None:
    view = view_with(
        permission_classes=[AllowAny],
        authentication_classes=[],
        http_method_names=["get"],
        schema=None,
        get=Answering.get,
        head=Answering.get,
        helper=lambda self: None,
    )
    assert failed_checks(view, settings) == []


def test_a_view_that_does_not_say_what_it_is_about_fails_at_the_start(settings: LazySettings) -> None:
    new: Any = type("New", (views.View,), {})

    assert failed_checks(new.as_view(), settings) == ["shop.E009"]
    with pytest.raises(ImproperlyConfigured, match="New at /api/v1/new has no resource"):
        checks.refuse_ignored_settings()


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize("view", [page, APIView.as_view()])
def test_a_view_of_another_kind_fails_at_the_start(view: Any, settings: LazySettings) -> None:
    assert failed_checks(view, settings) == ["shop.E003"]


def test_a_middleware_that_calls_of_the_api_do_not_pass_fails_at_the_start(settings: LazySettings) -> None:
    usual = list(settings.MIDDLEWARE)

    def fails(place: int) -> None:
        settings.MIDDLEWARE = [*usual[:place], "firewall.middleware.Everywhere", *usual[place:]]
        assert [message.id for message in checks.check_ignored_settings()] == ["shop.E002"]

    check_each([0, 2, 3, 99], fails)


def test_settings_without_the_way_of_calls_fail_at_the_start(settings: LazySettings) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != checks.DISPATCH_MIDDLEWARE]
    assert [message.id for message in checks.check_ignored_settings()] == ["shop.E001"]


NOT_FOLLOWED = {
    "SECURE_REFERRER_POLICY": "no-referrer",
    "SECURE_CONTENT_TYPE_NOSNIFF": False,
    "SECURE_CROSS_ORIGIN_OPENER_POLICY": None,
    "SECURE_HSTS_PRELOAD": True,
    "SECURE_SSL_REDIRECT": True,
    "X_FRAME_OPTIONS": "SAMEORIGIN",
    "USE_X_FORWARDED_HOST": True,
    "APPEND_SLASH": True,
    "DISALLOWED_USER_AGENTS": [re.compile("bot")],
}


def test_a_setting_that_calls_do_not_follow_fails_at_the_start() -> None:
    def fails(name: str, value: Any) -> None:
        with override_settings(**{name: value}):
            [error] = checks.check_ignored_settings()
        assert error.id == "shop.E007"
        assert error.msg == f"{name} is set, which calls of the API don't follow."

    check_each(NOT_FOLLOWED.items(), fails)


def test_a_transaction_around_every_request_fails_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert [message.id for message in checks.check_ignored_settings()] == ["shop.E007"]


def test_a_receiver_of_a_signal_that_is_not_sent_fails_at_the_start() -> None:
    def count_requests(**_: Any) -> None:
        pass

    def fails(name: str) -> None:
        checks.NOT_SENT[name].connect(count_requests)
        try:
            [error] = checks.check_ignored_settings()
        finally:
            checks.NOT_SENT[name].disconnect(count_requests)
        assert error.id == "shop.E008" and "count_requests" in error.msg

    check_each(["request_started", "request_finished", "got_request_exception"], fails)
    assert checks.check_ignored_settings() == []
