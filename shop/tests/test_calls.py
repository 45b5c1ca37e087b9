"""Calls of the API go straight to their view, and lose nothing by it."""

import cProfile
import gc
import pstats
import threading
from io import BytesIO
from typing import Any

import pytest
import urllib3
from django.conf import LazySettings
from django.db import OperationalError, connection, connections, transaction
from django.test import Client
from django.urls import clear_script_prefix

from shop import calls, tokens, transactions
from shop.mysql.base import RESTED_SECONDS
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory
from shop.tests.racing import wait_until
from shop.tests.second_connection import another_connection, ask
from shop.wsgi import application

MOST_FUNCTION_CALLS = 350
"""What a null call takes is 273 (Python 3.11, 2026-11-20); through all that pages need it was 1,893."""


PROCESS = "SELECT 1 FROM information_schema.processlist WHERE id = %s"


def call(
    path: str, *, access: str = "", body: bytes = b"", **environ: Any
) -> tuple[str, dict[str, str], bytes]:
    """One request through the handler that the server runs: status, headers and body."""
    heard: list[Any] = []
    signed_in = {"HTTP_AUTHORIZATION": f"Bearer {access}"} if access else {}
    answer = application(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "HTTP_HOST": "127.0.0.1:8000",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body),
            "wsgi.url_scheme": "http",
        }
        | signed_in
        | environ,
        lambda status, headers: heard.extend((status, dict(headers))),
    )
    return heard[0], heard[1], b"".join(answer)


@pytest.fixture
def access(settings: LazySettings, db: None) -> str:
    settings.LAB = True
    return tokens.access_for(AccountFactory())


def null(access: str, **environ: Any) -> tuple[str, dict[str, str], bytes]:
    return call("/api/v1/lab/null", access=access, body=b'{"campaign": 7}', **environ)


def test_a_null_call_stays_short(access: str) -> None:
    """Time differs from second to second; the number of function calls doesn't."""
    null(access)
    profile = cProfile.Profile()
    status, _, _ = profile.runcall(null, access)

    assert status == "200 OK"
    assert pstats.Stats(profile).total_calls < MOST_FUNCTION_CALLS  # type: ignore[attr-defined]


def test_a_null_call_asks_the_database_nothing(access: str, django_assert_num_queries: Any) -> None:
    null(access)
    with django_assert_num_queries(0):
        null(access)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("under", ["", "/shop"])
def test_calls_are_answered_wherever_the_application_is_mounted(settings: LazySettings, under: str) -> None:
    settings.LAB = True
    try:
        status, headers, body = null(tokens.access_for(AccountFactory()), SCRIPT_NAME=under)
    finally:
        clear_script_prefix()

    assert status == "200 OK"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert b'"campaign":7' in body


@pytest.mark.django_db(transaction=True)
def test_calls_bear_the_headers_that_protect_pages(live_web: str) -> None:
    wanted = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
    for path in ("/api/v1/products", "/api/v1/nothing", "/admin/login/"):
        answer = urllib3.request("GET", live_web + path, retries=False)
        assert {name: answer.headers.get(name) for name in wanted} == wanted, path
        assert answer.headers["X-Request-ID"]


def test_hosts_are_those_of_the_settings_at_the_time(access: str, settings: LazySettings) -> None:
    assert null(access, HTTP_HOST="shop.example")[0] == "400 Bad Request"
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert null(access, HTTP_HOST="shop.example")[0] == "200 OK"
    assert null(access)[0] == "400 Bad Request"


def test_any_number_of_addresses_may_be_asked_for(db: None) -> None:
    api = client_of()
    assert {api.get(f"/products/{number}").status_code for number in range(1, 1_100)} == {404}
    assert api.get("/products").status_code == 200


def test_what_is_remembered_of_addresses_and_hosts_is_short(access: str) -> None:
    """Anybody may send long ones, before they sign in."""
    calls._found.cache_clear()
    calls._is_ours.cache_clear()
    assert null(access, HTTP_HOST="a" * 1_000)[0] == "400 Bad Request"
    assert call("/api/v1/coupons/" + "A" * 1_000, access=access, REQUEST_METHOD="GET")[0] == "404 Not Found"
    assert (calls._found.cache_info().currsize, calls._is_ours.cache_info().currsize) == (0, 1)


def test_a_charset_that_is_none_is_the_callers_mistake(access: str) -> None:
    answer = call(
        "/api/v1/products",
        REQUEST_METHOD="GET",
        QUERY_STRING="x=1",
        CONTENT_TYPE="application/json; charset=zlib_codec",
    )
    assert (answer[0], answer[1]["Content-Type"]) == ("400 Bad Request", "application/problem+json")


def test_pages_still_have_their_sessions(db: None) -> None:
    page = Client().get("/admin/login/")
    assert page.status_code == 200
    assert "csrftoken" in page.cookies


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_broke_while_it_rested_is_replaced() -> None:
    """And one that was used a moment ago isn't asked whether it is there."""
    own = connections["default"]
    number = asked("SELECT CONNECTION_ID()")
    own.close_if_unusable_or_obsolete()
    with another_connection() as other:
        ask(other, "KILL %s", number)
    own._used_at -= RESTED_SECONDS  # type: ignore[attr-defined]

    assert asked("SELECT CONNECTION_ID()") != number
    pings = asked("SHOW SESSION STATUS LIKE 'Com_admin_commands'")
    own.close_if_unusable_or_obsolete()
    assert asked("SHOW SESSION STATUS LIKE 'Com_admin_commands'") == pings


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/api/v1/campaigns", "/readyz"])
def test_a_thread_that_ends_leaves_no_connection_behind(path: str) -> None:
    """Nor does it wait for the next time that garbage is collected."""
    numbers = []

    def look() -> None:
        call(path, REQUEST_METHOD="GET")
        numbers.append(asked("SELECT CONNECTION_ID()"))

    gc.disable()
    try:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        wait_until(lambda: not ask(connection, PROCESS, *numbers), seconds=5)
        assert not gc.isenabled()
    finally:
        gc.enable()


def asked(statement: str) -> Any:
    [[*_, value]] = ask(connection, statement)
    return value


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_breaks_within_a_transaction_is_told_as_lost() -> None:
    own = connections["default"]
    with pytest.raises(OperationalError) as lost, transaction.atomic():
        number = asked("SELECT CONNECTION_ID()")
        own.health_check_done, own._used_at = False, 0.0  # type: ignore[attr-defined]
        with another_connection() as other:
            ask(other, "KILL %s", number)
        asked("SELECT 1")
    assert transactions.is_lost(lost.value)


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
def test_what_is_an_accounts_own_is_kept_in_no_cache(
    access: str, method: str, path: str, is_signed_in: bool, is_own: bool
) -> None:
    signed_in = {"HTTP_AUTHORIZATION": f"Bearer {access}"} if is_signed_in else {}
    status, headers, _ = call(path, REQUEST_METHOD=method, **signed_in)

    assert not status.startswith("5")
    assert headers.get("Cache-Control") == ("no-store" if is_own else None)
