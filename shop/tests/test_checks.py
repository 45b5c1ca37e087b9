"""Nothing that calls of the API would ignore gets as far as being served."""

from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework.parsers import MultiPartParser
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from shop import checks
from shop.http.views import View

urlpatterns: list[Any] = []
"""Of this module as a URL configuration; each test puts its view there."""


def told(view: Any, settings: LazySettings) -> list[str]:
    """The checks that fail with this view at an address of the API."""
    urlpatterns[:] = [path("api/v1/new", view)]
    settings.ROOT_URLCONF = __name__
    return [str(message.id) for message in run_checks() if str(message.id).startswith("shop.")]


def view_with(**attributes: Any) -> Any:
    return type("New", (View,), attributes).as_view()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "attributes",
    [
        {"throttle_classes": [UserRateThrottle]},
        {"parser_classes": [MultiPartParser]},
        {"renderer_classes": [TemplateHTMLRenderer]},
        {"get_throttles": lambda self: [UserRateThrottle()]},
        {"initial": lambda self, request: None},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
def test_a_view_with_what_the_dispatch_ignores_fails_at_the_start(
    attributes: dict[str, Any], settings: LazySettings
) -> None:
    assert told(view_with(**attributes), settings) == ["shop.E004"]
    with pytest.raises(
        ImproperlyConfigured, match=f"New at /api/v1/new has its own {next(iter(attributes))}"
    ):
        checks.refuse_ignored_settings()


def test_a_view_that_says_what_all_say_starts(settings: LazySettings) -> None:
    assert told(view_with(throttle_classes=[], authentication_classes=[]), settings) == []


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize("view", [page, APIView.as_view()])
def test_a_view_of_another_kind_fails_at_the_start(view: Any, settings: LazySettings) -> None:
    assert told(view, settings) == ["shop.E003"]


def test_a_throttle_for_all_views_fails_at_the_start(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(APIView, "throttle_classes", [UserRateThrottle])
    assert told(view_with(), settings) == ["shop.E004"]


@pytest.mark.parametrize("place", [0, 2, 3, 99])
def test_a_middleware_that_calls_of_the_api_do_not_pass_fails_at_the_start(
    place: int, settings: LazySettings
) -> None:
    names = list(settings.MIDDLEWARE)
    names.insert(place, "firewall.middleware.Everywhere")
    settings.MIDDLEWARE = names
    assert [message.id for message in checks.check_ignored_settings()] == ["shop.E002"]


def test_settings_without_the_way_of_calls_fail_at_the_start(settings: LazySettings) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != checks.DISPATCH_MIDDLEWARE]
    assert [message.id for message in checks.check_ignored_settings()] == ["shop.E001"]


def test_this_project_starts() -> None:
    assert checks.check_ignored_settings() == []
