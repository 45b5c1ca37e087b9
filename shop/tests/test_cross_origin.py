"""Browsers on other origins: each lane and kind of call, by an allowed origin, another one, and none."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from foundation.http import serving
from foundation.rates import rate_limits
from foundation.tests import asgi_client
from foundation.tests.asgi_client import Answer, send_request_blocking
from foundation.tests.outages import database_away
from shop import configuration

pytestmark = pytest.mark.django_db(transaction=True)
OURS, THEIRS = "https://shop.example", "https://shop.example.evil"
NO_HOST = {"Host": "elsewhere.example"}
CALLS = [
    (401, "POST", "/v1/orders", {}),
    (400, "POST", "/v1/auth/token", {}),
    (200, "GET", "/v1/products", {}),
    (304, "GET", "/v1/products", {"If-None-Match": "*"}),
    (401, "GET", "/v1/wallet", {}),
    (405, "DELETE", "/v1/wallet", {}),
    (404, "GET", "/v1/nothing", {}),
    (200, "GET", "/schema/", {}),
    (400, "GET", "/v1/wallet", NO_HOST),
    # Before a lane.
    (413, "POST", "/v1/orders", {"Content-Length": "99999"}),
    (401, "GET", "/v1/wallet", {"Authorization": "Bearer fc_key_nothing"}),
]
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
EXPOSED = (
    "Location, Retry-After, ETag, Idempotency-Replayed, X-Request-ID, RateLimit, RateLimit-Policy, "
    "Deprecation, Sunset"
)
ALLOWED = (
    "Authorization, Content-Type, Accept-Language, Idempotency-Key, If-None-Match, Prefer, X-Request-ID, "
    "Firstcome-Account"
)
OF_PREFLIGHT = {
    "access-control-allow-origin": OURS,
    "access-control-allow-methods": "GET, POST, PATCH, DELETE",
    "access-control-allow-headers": ALLOWED,
    "access-control-max-age": "600",
}


@pytest.fixture(autouse=True)
def _served(settings, monkeypatch):
    settings.CORS_ALLOWED_ORIGINS = [OURS, "http://127.0.0.1:3000"]
    monkeypatch.setattr(asgi_client, "application", serving.Served(asgi_client.application))


def ask(method: str, path: str, origin: str, **headers: str) -> Answer:
    by = {"Origin": origin} if origin else {}
    return send_request_blocking(method, f"/api{path}", headers=by | headers)


def shared(answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def test_every_answer_to_an_allowed_origin_says_so_and_no_other_does(in_both_lanes):
    expected = {"access-control-allow-origin": OURS, "access-control-expose-headers": EXPOSED}
    for status, method, path, headers in CALLS:
        for origin in (OURS, THEIRS, ""):
            answer = ask(method, path, origin, **headers)
            assert answer.status == status, (method, path)
            assert shared(answer) == (expected if origin == OURS else {}), (method, path)
            vary = answer.headers["vary"].split(", ")
            assert "Origin" in vary and (status < 400 or "Accept-Language" in vary), (method, path)
            assert "set-cookie" not in answer.headers


def test_preflights_are_answered_before_sign_in_and_uncounted(in_both_lanes, settings):
    settings.RATE_ANONYMOUS = configuration.Rate(1, 60)
    rate_limits.ANONYMOUS._calls.clear()
    for path in ("/v1/orders", "/v1/campaigns/7/pause", "/v1/nothing", "/schema/"):
        for origin in (OURS, THEIRS, OURS):
            answer = ask("OPTIONS", path, origin, **PREFLIGHT)
            assert (answer.status, answer.body, answer.headers["vary"]) == (204, b"", "Origin")
            assert shared(answer) == (OF_PREFLIGHT if origin == OURS else {})
            assert len(answer.headers["x-request-id"]) == 36
    assert not rate_limits.ANONYMOUS._calls


def test_without_origins_preflights_are_answered_and_nothing_is_added(settings):
    settings.CORS_ALLOWED_ORIGINS = []
    answers = [ask("OPTIONS", "/v1/orders", OURS, **PREFLIGHT), ask("GET", "/v1/products", OURS)]
    assert [answer.status for answer in answers] == [204, 200]
    assert [shared(answer) for answer in answers] == [{}, {}]
    assert "Origin" not in answers[1].headers.get("vary", "")


def test_what_is_no_preflight_and_no_call_is_answered_as_ever():
    assert ask("OPTIONS", "/v1/wallet", OURS).status == 401
    assert ask("OPTIONS", "/v1/wallet", "", **PREFLIGHT).status == 401
    page = send_request_blocking("OPTIONS", "/admin/", headers={"Origin": OURS} | PREFLIGHT)
    assert (page.status, shared(page)) == (302, {})


def test_a_503_and_what_the_servers_edge_refuses_are_for_allowed_origins_too(monkeypatch):
    with database_away():
        away = ask("GET", "/v1/wallet", OURS, Authorization="Bearer fc_key_nothing")
    monkeypatch.setattr(serving, "MOST_HEADERS", 1)
    refused = ask("GET", "/v1/wallet", OURS)
    assert (away.status, refused.status) == (503, 400)
    assert [shared(one)["access-control-allow-origin"] for one in (away, refused)] == [OURS, OURS]


def test_the_setting_takes_exact_origins_alone(monkeypatch):
    for wrong in (
        "*",
        "https://*.example",
        "shop.example",
        "https://shop.example/",
        "HTTPS://A.example",
        "null",
    ):
        monkeypatch.setenv("CORS_ALLOWED_ORIGINS", f"{OURS},{wrong}")
        with pytest.raises(ImproperlyConfigured, match="an origin is https://host"):
            configuration.origins("CORS_ALLOWED_ORIGINS")
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", f"{OURS},http://[::1]:3000")
    assert configuration.origins("CORS_ALLOWED_ORIGINS") == [OURS, "http://[::1]:3000"]
