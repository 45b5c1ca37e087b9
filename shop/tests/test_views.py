"""Calls of the burst lane go straight to their view, without a loss of function."""

import asyncio
import cProfile
import json
import pstats
import re
from inspect import iscoroutinefunction
from typing import Any

import orjson
import pytest
from django.conf import LazySettings
from django.urls import get_resolver

from accounts.tokens import tokens
from lab import urls
from shop.burst import lane, table
from shop.concurrency.thread_pool import ThreadPool
from shop.http import json_format, views
from shop.tests.asgi_client import Answer, send_request as request, send_request_blocking as answered
from shop.tests.factories import AccountFactory

MOST_FUNCTION_CALLS = 300
"""A null call takes 209 function calls, and 54 more of the test's client (Python 3.11, 2026-11-21); through
the middlewares for pages it took 1,893."""


@pytest.fixture
def access(db: None) -> str:
    return tokens.create_access_token(AccountFactory())


NULL = "/api/v1/lab/null"
pytestmark = pytest.mark.urls(urls.__name__)


def null(access: str, **about: Any) -> Answer:
    return answered("POST", NULL, {"campaign": 7}, access=access, **about)


def test_a_null_call_stays_short(access: str) -> None:
    """The number of function calls is stable, unlike the time."""

    async def profiled() -> tuple[Answer, int]:
        call = {"body": {"campaign": 7}, "access": access}
        await request("POST", NULL, **call)
        profile = cProfile.Profile()
        with profile:
            answer = await request("POST", NULL, **call)
        return answer, pstats.Stats(profile).total_calls  # type: ignore[attr-defined]

    answer, function_calls = asyncio.run(profiled())
    assert answer.status == 200
    assert function_calls < MOST_FUNCTION_CALLS


def test_a_null_call_needs_no_thread_once_the_disabled_accounts_are_known(
    access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert null(access).status == 200
    monkeypatch.setattr(ThreadPool, "start", lambda *_, **__: pytest.fail("a thread was started"))
    assert null(access).status == 200


@pytest.mark.parametrize("under", ["", "/shop"])
def test_calls_are_answered_wherever_the_application_is_mounted(access: str, under: str) -> None:
    answer = null(access, mount=under)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert b'"campaign":7' in answer.body
    coupons = answered("GET", "/healthz", mount=under)
    assert coupons.body == b'{"status":"alive"}'


def test_hosts_are_those_of_the_settings_at_the_time(access: str, settings: LazySettings) -> None:
    assert null(access, headers={"Host": "shop.example"}).status == 400
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert null(access, headers={"Host": "shop.example"}).status == 200
    assert null(access).status == 400


ID = "01a205ea-8973-7608-aaac-b7b4998b3d39"
SAMPLES = {"<uuid>": ID, "<int>": "7"}


def test_the_burst_lane_finds_the_views_and_arguments_that_django_finds() -> None:
    assert len(table.CALLS) <= 16
    for (method, shape), call in table.CALLS.items():
        path = re.sub("<(uuid|int)>", lambda kind: SAMPLES[kind[0]], shape)
        expected: Any = get_resolver().resolve(views.API_PREFIX + path)
        assert table.find(method, path) == (call, expected.kwargs), path
        assert expected.func.view_class is call.view, path
        assert iscoroutinefunction(call.handler), path


@pytest.mark.parametrize(
    "path",
    [
        f"nothing/{ID}",
        f"orders/{ID.upper()}",
        f"orders/{ID[:-1]}",
        f"orders/{ID}/",
        "orders/7",
        f"coupons/{ID}",
        f"sales/{ID}/entries",
        "orders\n",
        f"orders/{ID}\n",
        "coupons/",
        "",
    ],
)
def test_other_paths_are_djangos(path: str) -> None:
    assert table.find("GET", path) is None and table.find("POST", path) is None


def test_long_hosts_are_not_cached(access: str) -> None:
    """Any client may send long ones, before it signs in."""
    lane.is_allowed_host.cache_clear()
    assert null(access, headers={"Host": "a" * 1_000}).status == 400
    assert null(access).status == 200
    assert lane.is_allowed_host.cache_info().currsize == 1


@pytest.mark.parametrize("path", [NULL, "/api/v1/auth/token", "/admin/login/", "/admin/auth/user/", "/"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_another_charset_than_utf_8_is_a_client_error_whatever_codec_it_names(
    access: str, path: str, kind: str
) -> None:
    codecs = ("zlib_codec", "idna", "undefined", "rot13", "a\0b", "utf-8; charset=hex", "utf-8; a*=idna''%ff")
    for codec in codecs:
        headers = {"Content-Type": f"{kind}; charset={codec}"}
        answer = answered("POST", path, b"a=1", query="x=1", access=access, headers=headers)
        assert (answer.status, answer.headers["content-type"]) == (415, "application/problem+json"), codec
    assert answered("GET", "/api/v1/products", query="x=1", headers=headers).status == 200


@pytest.mark.parametrize("path", ["/api/v1/coupons", "/api/v1/orders", "/api/v1/payments", NULL])
def test_a_body_of_thousands_of_fields_is_refused_without_blocking_the_event_loop(
    access: str, path: str
) -> None:
    unknown = {f"f{number}": 1 for number in range(5_000)}
    answer = answered("POST", path, unknown, access=access, headers={"Idempotency-Key": "many"})
    problem = orjson.loads(answer.body)
    assert (answer.status, problem["code"]) == (400, "invalid")
    assert [error["code"] for error in problem["errors"]] == ["too_many_values"]


def test_a_large_body_that_is_no_json_is_refused_as_any_other(access: str) -> None:
    assert orjson.loads(null(access, parts=[b"[" * 5_000]).body)["code"] == "malformed_json"
    texts = null(access, parts=[b"," * 5_000], headers={"Content-Type": "text/csv"})
    assert texts.status == 415


def test_an_order_of_50_lines_is_no_body_of_too_many_values() -> None:
    lines = [{"product": number, "quantity": 1_000} for number in range(2**62, 2**62 + 50)]
    order = {"items": lines, "coupon": "X" * 14, "points_amount": 1, "payment": {"token": "tok_visa"}}
    assert not json_format.has_many_values(json.dumps(order, indent=2).encode())


@pytest.mark.parametrize(
    ("method", "path", "is_signed_in", "is_own"),
    [
        ("GET", "/api/v1/wallet", True, True),
        ("GET", "/api/v1/orders", True, True),
        ("GET", "/api/v1/coupons", True, True),
        ("GET", "/api/v1/users/me", True, True),
        ("POST", "/api/v1/auth/token", False, True),
        ("POST", "/api/v1/auth/refresh", False, True),
        ("POST", "/api/v1/orders", True, True),
        ("GET", "/api/v1/products", False, False),
        ("GET", "/api/v1/campaigns", False, False),
    ],
)
def test_responses_about_an_account_are_not_cached(
    access: str, method: str, path: str, is_signed_in: bool, is_own: bool
) -> None:
    answer = answered(method, path, access=access if is_signed_in else "")

    assert answer.status < 500
    assert answer.headers.get("cache-control") == ("no-store" if is_own else "no-cache")
