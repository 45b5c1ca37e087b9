"""Both lanes answer every burst call alike; the burst lane is short, and passes nothing by that was added."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

import orjson
import pytest
from django.core.handlers.base import BaseHandler
from django.core.management.base import SystemCheckError
from django.http import HttpResponse
from django.urls import get_resolver
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.throttling import BaseThrottle

from accounts.api import SignIn
from accounts.tests import api_keys
from accounts.tokens import token_pairs
from coupons import issuing
from coupons.queue import tickets
from coupons.tests.factories import CampaignFactory
from foundation.concurrency.event_loop import CALL_POOL
from foundation.concurrency.thread_pool import MAX_PER_OWNER, ThreadPool
from foundation.http import json_format, views
from foundation.http.pages import rendering
from foundation.http.views import View
from foundation.redis import completion_notifications
from foundation.tests import openapi_document
from foundation.tests.asgi_client import Answer, send_request, send_request_blocking
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory
from inventory.tests.factories import ProductFactory
from lab import urls
from orders.api import OneOrder
from orders.tests import buying
from sales.tests.factories import create_sale, join
from shop.burst import checks, lane, table
from shop.tests.test_edge import _no_workers

__all__ = ["_no_workers"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(urls.__name__)]
KEYED = {"Idempotency-Key": "one"}
NOBODY = "01a205ea-8973-7608-aaac-b7b4998b3d39"


@dataclass(frozen=True)
class World:
    """What a lane's requests are about: the other lane's have the like, so that both have the same effect."""

    address: str
    access: dict[str, str]
    names: dict[str, Any]


def make_world(address="192.0.2.1") -> World:
    buyer, staff, lost = AccountFactory(), SuperuserFactory(), AccountFactory()
    lost_access = token_pairs.create_access_token(lost)
    lost.delete()
    product, campaign = ProductFactory(on_hand=50, name="Mug"), CampaignFactory(name="Spring")
    queued = CampaignFactory(name="Summer", strategy="queue")
    sale = create_sale(opens_in=3_600, closes_in=7_200)
    placed = buying.place(buyer, product)
    ticket = tickets.READER.submit(issuing.issue(campaign_id=queued.pk, user_id=buyer.pk).ticket.pk)
    return World(
        address=address,
        access={
            "": "",
            "buyer": token_pairs.create_access_token(buyer),
            "staff": token_pairs.create_access_token(staff),
            "forged": token_pairs.create_access_token(buyer)[:-3] + "abc",
            "key": api_keys.make("orders:read", maker=staff).secret,
            "feed": api_keys.make("events:read", maker=staff).secret,
            "wrong key": "fc_key_nothing",
            "lost account": lost_access,
        },
        names={
            "campaign": campaign.pk,
            "queued": queued.pk,
            "product": product.pk,
            "sale": sale.pk,
            "order": placed.order.id,
            "entry": join(sale, buyer).id,
            "ticket": ticket.ticket.pk,
            "username": buyer.username,
            "nobody": NOBODY,
        },
    )


PAID = b'{"items":[{"product":%(product)s,"quantity":1}],"payment":{"token":"tok_ok"}}'
CALLS = [
    ("POST", "/coupons", "buyer", b'{"campaign":%(campaign)s}'),
    ("POST", "/coupons", "buyer", b'{"campaign":%(queued)s}'),
    ("POST", "/coupons", "buyer", b'{"campaign":%(campaign)s,"user":1}'),
    ("POST", "/coupons", "staff", b'{"campaign":%(campaign)s,"user":987654321}'),
    ("POST", "/coupons", "buyer", b'{"campaign":987654321}'),
    ("GET", "/queue-tickets/%(ticket)s", "buyer", b""),
    ("GET", "/queue-tickets/%(ticket)s", "staff", b""),
    ("GET", "/queue-tickets/%(nobody)s", "buyer", b""),
    ("GET", "/campaigns?limit=1", "", b""),
    ("GET", "/campaigns?limit=x", "", b""),
    ("GET", "/campaigns?cursor=%%FF", "buyer", b""),
    ("GET", "/campaigns?limit=1", "staff", b""),
    ("GET", "/products?search=nothing&format=csv", "", b""),
    ("GET", "/products?availability=never", "", b""),
    ("POST", "/orders", "buyer", b'{"items":[{"product":%(product)s,"quantity":1}]}'),
    ("POST", "/orders", "buyer", PAID),
    ("POST", "/orders", "buyer", b'{"items":[{"product":987654321,"quantity":1}]}'),
    ("POST", "/orders", "buyer", b'{"items":[{"product":%(product)s,"quantity":0}],"odd":1,"coupon":null}'),
    ("GET", "/orders/%(order)s", "buyer", b""),
    ("GET", "/orders/%(order)s", "key", b""),
    ("GET", "/orders/%(nobody)s", "buyer", b""),
    ("POST", "/payments", "buyer", b'{"order":"%(order)s","token":"tok_ok"}'),
    ("POST", "/payments", "buyer", b'{"order":"%(nobody)s","token":"tok_ok"}'),
    ("POST", "/wallet/top-ups", "buyer", b'{"amount":1000}'),
    ("GET", "/sales?limit=1", "", b""),
    ("POST", "/sales/%(sale)s/entries", "buyer", b""),
    ("POST", "/sales/99999999999999999999/entries", "buyer", b""),
    ("GET", "/sale-entries/%(entry)s", "buyer", b""),
    ("GET", "/sale-entries/%(nobody)s", "buyer", b""),
    ("POST", "/auth/token", "", b'{"username":"%(username)s","password":"' + PASSWORD.encode() + b'"}'),
    ("POST", "/auth/token", "forged", b'{"username":"%(username)s","password":"wrong"}'),
    ("POST", "/auth/token", "key", b'{"username":"%(username)s","password":"wrong"}'),
    ("POST", "/auth/token", "", b"{}"),
    ("POST", "/users", "", b'{"username":"new-%(username)s","password":"a-quiet-harbour-7"}'),
    ("POST", "/users", "", b'{"username":"%(username)s","password":"a-quiet-harbour-7"}'),
    ("POST", "/users/me/password", "buyer", b'{"current":"wrong","new":"another-quiet-harbour"}'),
    ("POST", "/users/me/password", "buyer", b'{"current":"' + PASSWORD.encode() + b'","new":"1"}'),
    ("POST", "/users/me/password", "buyer", b"{}"),
    ("GET", "/events?limit=1", "feed", b""),
    ("GET", "/events?after=odd", "feed", b""),
    ("GET", "/events", "buyer", b""),
]
ODD_BODIES = [
    (b"{", {}),
    (b"[]", {}),
    (b'"text"', {}),
    (b"{}", {}),
    (b"", {}),
    (b'{"a":' * 40 + b"1" + b"}" * 40, {}),
    (b'{"campaign":1e400}', {}),
    (b'{"\\ud800":1}', {}),
    (b" " * 70_000, {}),
    (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}),
    (b"{}", {"Content-Type": ""}),
    (b"{}", {"Content-Type": "application/json; charset=idna"}),
    (b'{"username":"a","password":"' + b"[,{" * 300 + b'"}', {}),
    (b'{"items":[' + b"7," * 900 + b"7]}", {}),
    (b"[{}" + b",{}" * 700 + b"]", {}),
    (b"\xef\xbb\xbf{}", {}),
    (b'{"a":1,"a":2}', {}),
    (b"{} ", {"Content-Type": "application/merge-patch+json"}),
    (b"{}", {"Content-Type": "application/json, text/csv"}),
    (b"{}", {"Content-Type": "application/json" + "; a=b" * 2_000}),
]
ODD_QUERIES = [
    *(
        "tint=teal",
        "tint",
        "=",
        "&&limit=0",
        "limit=3&limit=x",
        "limit=1;tint=2",
        "%FE=1",
        "a%00=1",
        "x" * 9_000,
    ),
    *("search=caf\u00e9 \u00e0", "search=a+b+c+d+e+f", "&".join(f"p{number}=1" for number in range(1_001))),
]
ODD_HEADERS = [
    {"Host": "elsewhere.example"},
    {"Host": "a" * 300},
    {"Accept": "text/html"},
    {"Accept": "application/xml;q=0.1"},
    {"Accept": "a/b; a*1=x; a*=y"},
    {"Content-Type": "a/b; x*=nope''y"},
    {"Content-Type": "a/b; a*1=x; a*=y"},
    {"Accept-Language": "ko"},
    {"Accept-Language": "x" * 300},
    {"X-Request-ID": "my-own.1"},
    {"X-Request-ID": "unfit\u00e9"},
    {"Authorization": "Basic YTpi"},
    {"Authorization": "Bearer"},
    {"Prefer": "wait=0"},
    {"Prefer": 'wait="'},
    {"If-None-Match": "*"},
    {"Idempotency-Key": ""},
    {"Idempotency-Key": "x" * 300},
    {"Firstcome-Account": "none"},
    {"Cookie": "sessionid=" + "a" * 32},
    {"X-HTTP-Method-Override": "DELETE"},
    {"X-Forwarded-Host": "elsewhere.example", "X-Forwarded-Proto": "https"},
    {"Authorization": "bearer  fc_key_"},
    {"Range": "bytes=0-3"},
    {"Origin": "https://elsewhere.example", "Referer": "?"},
    {"X-Long": "y" * 20_000},
    {"Accept": "*/*, " * 900},
]


def asked(world, method: str, path: str, who: str, body: bytes, headers: dict[str, str]) -> Answer:
    where, _mark, query = (path % world.names).partition("?")
    filled = body
    if b"%(" in body:
        filled = body % {name.encode(): str(value).encode() for name, value in world.names.items()}
    for _ in range(3):
        answer = send_request_blocking(
            method,
            f"/api/v1{where}",
            filled,
            query=query,
            access=world.access[who],
            headers={"Content-Type": "application/json"} | KEYED | headers,
            address=world.address,
        )
        # On a busy machine the accounts that are disabled may not be read in time: nothing was done then.
        if answer.status != 503:
            break
    return answer


def masked(answer, world) -> tuple[int, dict[str, str], str]:
    """The answer without what differs between two runs of the same call."""
    text = orjson.dumps(answer.json(), option=orjson.OPT_SORT_KEYS).decode() if answer.body else ""
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    if not re.fullmatch("my-own.1", headers["x-request-id"]):
        headers["x-request-id"] = "new"
    headers |= {name: "some" for name in ("etag", "ratelimit", "retry-after") if name in headers}

    def mask(value):
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", value)
        value = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<at>", value)
        value = re.sub(r'"(access|refresh|next)":"[A-Za-z0-9_.=-]{10,}"', r'"\1":"<text>"', value)
        value = re.sub(r'"(code|number)":"[A-Z0-9]{8,}"', r'"\1":"<code>"', value)
        value = re.sub(r"/coupons/[A-Z0-9]{10,}", "/coupons/<code>", value)
        value = re.sub(
            r'"(id|user|account|campaign|product|sale|ahead)":\d+|after%3A\d+|SKU-\d+', r"<number>", value
        )
        return value.replace(world.names["username"], "<username>")

    return answer.status, {name: mask(value) for name, value in headers.items()}, mask(text)


def cases() -> Iterator[tuple[str, str, str, bytes, dict[str, str]]]:
    for number, (method, path, who, body) in enumerate(CALLS):
        yield method, path, who, body, {"Idempotency-Key": f"of-call-{number}"}
    firsts = {
        (method, path.partition("?")[0].partition("%")[0]): each
        for (*each,) in CALLS
        for method, path in [each[:2]]
    }
    for method, path, _who, body in firsts.values():
        for who in ("", "forged", "wrong key", "key", "lost account"):
            yield method, path, who, body, {"Idempotency-Key": f"of-{who.encode().hex()}"}
            yield method, path, who, body or b"{}", {"Content-Type": "application/json; charset=big5"}
        for query in ODD_QUERIES:
            for who in ("", "buyer", "wrong key"):
                asked = f"{path.partition('?')[0]}?{query.replace('%', '%%')}"
                yield method, asked, who, body, {"Idempotency-Key": "of-odd-query"}
        for other in ("OPTIONS", "PUT", "DELETE", "TRACE", method.lower()):
            yield other, path, "buyer", b"", {"Idempotency-Key": "of-another-method"}
        for written in (f"{path.partition('?')[0]}/", f"/{path}"):
            yield method, written, "buyer", body, {"Idempotency-Key": "of-another-path"}
        for headers in ODD_HEADERS:
            yield method, path, "buyer", body, {"Idempotency-Key": "of-odd-headers"} | headers
        if method == "GET":
            yield "HEAD", path, "buyer", body, {}
        if method == "POST":
            for odd, headers in ODD_BODIES:
                yield method, path, "buyer", odd, {"Idempotency-Key": f"of-odd-{odd[:8].hex()}"} | headers


def test_both_lanes_answer_alike(settings):
    """Status, headers and bodies of good, bad and odd requests of every call of the table."""
    for name in ("COUPONS", "ORDERS", "PAYMENTS", "TOP_UPS", "DECLINES", "ANONYMOUS", "API_KEYS"):
        setattr(settings, f"RATE_{name}", None)
    answers = {}
    # Attempts to sign in are limited by address.
    worlds = {True: make_world("192.0.2.1"), False: make_world("192.0.2.2")}
    for settings.BURST, world in worlds.items():
        answers[settings.BURST] = [masked(asked(world, *case), world) for case in cases()]
    differing = [
        (
            case[:3],
            case[3][:40],
            case[4],
            [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]],
        )
        for case, one, other in zip(cases(), answers[True], answers[False], strict=True)
        if one != other
    ]
    assert not differing, f"{len(differing)} differ:\n" + "\n\n".join(map(str, differing))


def documented_calls() -> Iterator[tuple[str, str, list[str], bool]]:
    """Method and path of each call of the document, its query parameters, and whether it is a burst call."""
    for path, item in openapi_document.read()["paths"].items():
        for method, operation in item.items():
            parameters = operation.get("parameters", [])
            values = {
                one["name"]: NOBODY if one["schema"].get("format") == "uuid" else 7
                for one in parameters
                if one["in"] == "path"
            }
            written, query = (
                path.format(**values),
                [one["name"] for one in parameters if one["in"] == "query"],
            )
            found = table.find(method.upper(), written.removeprefix("/api/v1/"))
            yield method.upper(), written, query, found is not None


def test_every_call_of_both_lanes_refuses_query_parameters_that_it_does_not_have_and_no_others(settings):
    settings.RATE_ANONYMOUS = None
    access = token_pairs.create_access_token(SuperuserFactory())
    by_lane = {True: 0, False: 0}
    for method, path, names, is_in_burst_lane in documented_calls():
        if "/webhooks/" in path:
            continue
        for settings.BURST in {True, not is_in_burst_lane}:
            unknown = sent_with(method, path, [*names, "tint", "Limit"], access)
            assert unknown == (400, [("tint", "unknown_field"), ("Limit", "unknown_field")]), (method, path)
            assert "unknown_field" not in dict(map(reversed, sent_with(method, path, names, access)[1])), (
                method,
                path,
            )
            by_lane[settings.BURST and is_in_burst_lane] += 1
    assert by_lane[True] == len(table.CALLS) - 1 and by_lane[False] > 60


def sent_with(method: str, path: str, names: list[str], access: str) -> tuple[int, list[tuple[str, str]]]:
    """The status, and the field and code of each error, of the call with these parameters."""
    query = "&".join(f"{name}=1" for name in names)
    answer = send_request_blocking(method, path, b"", query=query, access=access, headers=KEYED)
    problem = orjson.loads(answer.body or b"{}")
    return answer.status, [(error["field"], error["code"]) for error in problem.get("errors", [])]


def test_webhooks_of_gateways_may_have_any_query_parameters():
    answer = send_request_blocking("POST", "/api/v1/webhooks/simulator", {}, query="topic=charge&data.id=7")
    assert answer.json()["code"] == "signature_invalid"


# What an engineer adds


def added_middleware(handler):
    return lambda request: HttpResponse(status=418) if "X-Added" in request.headers else handler(request)


class AddedThrottle(BaseThrottle):
    def allow_request(self, request, view) -> bool:
        return False

    def wait(self) -> float:
        return 7.2


class AddedPermission(BasePermission):
    def has_permission(self, request, view) -> bool:
        return False


class AddedParser(BaseParser):
    media_type = "text/order"

    def parse(self, stream, media_type=None, parser_context=None):
        return {"items": [{"product": 987654321, "quantity": len(stream.read())}]}


@pytest.fixture
def buyer():
    return token_pairs.create_access_token(AccountFactory())


def placed(access: str, **headers: str) -> Answer:
    body = {"items": [{"product": 987654321, "quantity": 1}]}
    return send_request_blocking("POST", "/api/v1/orders", body, access=access, headers=KEYED | headers)


def listed(access: str, **headers: str) -> Answer:
    return send_request_blocking("GET", "/api/v1/orders", access=access, headers=headers)


def passed_by() -> str:
    return " ".join(f"{message.msg} {message.hint}" for message in checks.check_burst_lane())


def test_the_burst_lane_passes_by_nothing_as_it_is(settings):
    assert passed_by() == ""
    settings.HTTPS, settings.SECURE_HSTS_SECONDS = True, 7
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert passed_by() == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECURE_SSL_REDIRECT", True),
        ("SECURE_HSTS_SECONDS", 60),
        ("SECURE_HSTS_PRELOAD", True),
        ("SECURE_PROXY_SSL_HEADER", ("HTTP_X_SCHEME", "https")),
        ("SECURE_REFERRER_POLICY", "no-referrer"),
        ("SECURE_CROSS_ORIGIN_OPENER_POLICY", None),
        ("X_FRAME_OPTIONS", "SAMEORIGIN"),
        ("USE_X_FORWARDED_HOST", True),
        ("DISALLOWED_USER_AGENTS", [re.compile("curl")]),
    ],
)
def test_a_setting_that_the_lane_ignores_is_refused_by_its_value(name, value, settings):
    setattr(settings, name, value)
    assert f"passes by the setting {name}. With BURST=0" in passed_by()
    settings.BURST = False
    assert passed_by() == ""


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("get_throttles", lambda view: [AddedThrottle()]),
        ("check_object_permissions", lambda view, request, order: None),
        ("perform_authentication", lambda view, request: None),
        ("initial", lambda view, request, **_: None),
        ("get_exception_handler", lambda view: None),
    ],
)
def test_a_hook_that_one_view_overrides_is_refused_by_its_name(name, added, monkeypatch):
    for view in (OneOrder, SignIn):
        monkeypatch.setattr(view, name, added, raising=False)
        assert f"passes by {name} of {view.__module__}.{view.__name__}. With BURST=0" in passed_by()
        monkeypatch.undo()
        assert passed_by() == ""


def test_an_added_middleware_works_in_djangos_lane_and_is_refused_without(buyer, settings, monkeypatch):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.added_middleware"]
    handler = BaseHandler()
    handler.load_middleware()
    monkeypatch.setattr(rendering, "_handler", handler)

    assert listed(buyer, **{"X-Added": "1"}).status == 418 and listed(buyer).status == 200
    assert f"the middleware {__name__}.added_middleware" in passed_by() and "BURST=0" in passed_by()
    with pytest.raises(SystemCheckError, match=rf"the middleware {__name__}\.added_middleware"):
        checks.refuse_to_start()
    settings.BURST = False
    assert passed_by() == ""
    assert placed(buyer, **{"X-Added": "1"}).status == 418 and placed(buyer).status == 404


@pytest.mark.parametrize(
    ("kind", "added", "status", "code"),
    [
        ("throttle_classes", AddedThrottle, 429, "throttled"),
        ("permission_classes", AddedPermission, 403, "permission_denied"),
    ],
)
def test_an_added_throttle_or_permission_works_in_djangos_lane_and_is_refused_without(
    kind, added, status, code, buyer, settings, monkeypatch
):
    monkeypatch.setattr(View, kind, [*getattr(View, kind), added])

    for settings.BURST, call in ((True, listed), (False, listed), (False, placed)):
        answer = call(buyer)
        assert (answer.status, answer.json()["code"]) == (status, code)
        assert answer.headers.get("retry-after") == ("8" if status == 429 else None)
    assert passed_by() == ""
    settings.BURST = True
    assert f"{added.__name__} of orders.api.Orders" in passed_by() and "BURST=0" in passed_by()


def test_an_added_parser_works_in_djangos_lane_and_is_refused_without(buyer, settings, monkeypatch):
    monkeypatch.setattr(View, "parser_classes", [AddedParser, *View.parser_classes])
    text = {"Content-Type": "text/order"} | KEYED

    def sent(path):
        return send_request_blocking("POST", path, b"three", access=buyer, headers=text)

    cancelled = sent("/api/v1/orders/01a205ea-8973-7608-aaac-b7b4998b3d39/cancel")
    assert [error["field"] for error in cancelled.json()["errors"]] == ["items"]
    assert sent("/api/v1/orders").status == 415 and "AddedParser of orders.api.Orders" in passed_by()
    settings.BURST = False
    assert orjson.loads(sent("/api/v1/orders").body)["code"] == "product_not_found"


@pytest.mark.parametrize("path", ["/api/v1/wallet", "/api/v1/nothing"])
def test_odd_headers_are_no_failure_of_djangos_lane(path, buyer):
    for access in ("", buyer, "fc_key_nobodys"):
        for headers in ODD_HEADERS:
            answer = send_request_blocking("GET", path, access=access, headers=headers)
            assert answer.status < 500 and answer.headers["x-request-id"], (access, headers)


# Threads


def test_a_key_that_nobody_has_takes_no_thread_of_djangos_lane(monkeypatch):
    monkeypatch.setattr(CALL_POOL, "start", lambda *_, **__: pytest.fail("a thread was started"))
    refused = send_request_blocking("GET", "/api/v1/orders", access="fc_key_nobodys")
    assert (refused.status, refused.json()["code"]) == (401, "token_invalid")


@pytest.mark.parametrize("burst", [True, False])
def test_a_customer_takes_no_thread_of_staff_by_calls_of_staff(buyer, burst, settings, monkeypatch):
    settings.BURST = burst
    groups, start = [], CALL_POOL.start
    assert listed(buyer).status == 200, "the disabled accounts are known"
    monkeypatch.setattr(
        CALL_POOL, "start", lambda *a, **named: groups.append(named.get("group")) or start(*a, **named)
    )
    for method, path, body in [
        ("POST", "/coupons", {"campaign": 7, "user": 1}),
        ("POST", "/coupons", {"campaign": 7, "user": "none", "odd": 1}),
        ("GET", "/events", None),
    ]:
        refused = send_request_blocking(method, f"/api/v1{path}", body, access=buyer)
        assert (refused.status, refused.json()["code"]) == (403, "permission_denied")
    assert groups == ([] if burst else ["coupons", "coupons", "events"])


def test_an_account_has_16_calls_at_once_of_djangos_lane_and_any_number_that_wait_in_the_burst_lane(settings):
    world = make_world()
    path, access = f"/api/v1/queue-tickets/{world.names['ticket']}", world.access["buyer"]

    async def ask_40_times():
        waiting = {"Prefer": "wait=2"}
        calls = (send_request("GET", path, access=access, headers=waiting) for _ in range(40))
        answers = await asyncio.gather(*calls)
        return sorted((answer.status, answer.json().get("code", "")) for answer in answers)

    for settings.BURST, answered in ((True, 40), (False, MAX_PER_OWNER)):
        assert asyncio.run(ask_40_times()) == [(200, "")] * answered + [(503, "overloaded")] * (40 - answered)


def test_probes_answer_while_every_thread_is_held_and_they_and_pages_block_no_loop(blocked):
    release = threading.Event()

    async def answers():
        for number in range(2 * CALL_POOL._max_threads):
            CALL_POOL.start(lambda: release.wait(30) and None, group=number)
        return [
            await asyncio.wait_for(send_request("GET", path), 10)
            for path in ("/healthz", "/readyz", "/metrics")
        ]

    try:
        assert [answer.status for answer in asyncio.run(answers())] == [200, 200, 200]
    finally:
        release.set()
    assert send_request_blocking("GET", "/admin/login/").status == 200
    assert blocked == []


def test_half_of_the_threads_wait_in_djangos_lane_and_others_are_answered_at_once(settings, monkeypatch):
    settings.BURST = False
    monkeypatch.setattr(completion_notifications, "_threads", threading.BoundedSemaphore(2))
    world = make_world()
    path, access = f"/api/v1/queue-tickets/{world.names['ticket']}", world.access["buyer"]

    async def wait_together():
        async def waited():
            began_at = time.monotonic()
            answer = await send_request("GET", path, access=access, headers={"Prefer": "wait=3"})
            assert answer.status == 200
            return time.monotonic() - began_at

        return sorted(await asyncio.gather(*(waited() for _ in range(6))))

    seconds = asyncio.run(wait_together())
    assert max(seconds[:4]) < 2 and min(seconds[4:]) >= 3


# Calls of the burst lane go straight to their view, without a loss of function

NULL = "/api/v1/lab/null"


def null(access: str, **about) -> Answer:
    return send_request_blocking("POST", NULL, {"campaign": 7}, access=access, **about)


def test_a_null_call_needs_no_thread_once_the_disabled_accounts_are_known(buyer, monkeypatch):
    assert null(buyer).status == 200
    monkeypatch.setattr(ThreadPool, "start", lambda *_, **__: pytest.fail("a thread was started"))
    assert null(buyer).status == 200


@pytest.mark.parametrize("under", ["", "/shop"])
def test_calls_are_answered_wherever_the_application_is_mounted(buyer, under):
    answer = null(buyer, mount=under)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert b'"campaign":7' in answer.body
    coupons = send_request_blocking("GET", "/healthz", mount=under)
    assert coupons.body == b'{"status":"alive"}'


def test_hosts_are_those_of_the_settings_at_the_time_and_long_ones_are_not_cached(buyer, settings):
    """Any client may send long ones, before it signs in."""
    lane.is_allowed_host.cache_clear()
    assert null(buyer, headers={"Host": "a" * 1_000}).status == 400
    assert null(buyer).status == 200
    assert lane.is_allowed_host.cache_info().currsize == 1
    assert null(buyer, headers={"Host": "shop.example"}).status == 400
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert null(buyer, headers={"Host": "shop.example"}).status == 200
    assert null(buyer).status == 400


ID = "01a205ea-8973-7608-aaac-b7b4998b3d39"


def test_the_burst_lane_finds_the_views_and_arguments_that_django_finds():
    assert len(table.CALLS) <= 16
    for (method, shape), call in table.CALLS.items():
        path = re.sub("<(uuid|int)>", lambda kind: ID if kind[1] == "uuid" else "7", shape)
        expected = get_resolver().resolve(views.API_PREFIX + path)
        assert table.find(method, path) == (call, expected.kwargs), path
        assert expected.func.view_class is call.view, path
        assert iscoroutinefunction(call.handler), path


@pytest.mark.parametrize(
    "path",
    [
        *(f"nothing/{ID}", f"orders/{ID.upper()}", f"orders/{ID[:-1]}", f"orders/{ID}/", "orders/7"),
        *(f"coupons/{ID}", f"sales/{ID}/entries", "orders\n", f"orders/{ID}\n", "coupons/", ""),
    ],
)
def test_other_paths_are_djangos(path):
    assert table.find("GET", path) is None and table.find("POST", path) is None


@pytest.mark.parametrize("path", [NULL, "/api/v1/auth/token", "/admin/login/", "/admin/auth/user/", "/"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_another_charset_than_utf_8_is_a_client_error_whatever_codec_it_names(buyer, path, kind):
    codecs = ("zlib_codec", "idna", "undefined", "rot13", "a\0b", "utf-8; charset=hex", "utf-8; a*=idna''%ff")
    for codec in codecs:
        headers = {"Content-Type": f"{kind}; charset={codec}"}
        answer = send_request_blocking("POST", path, b"a=1", query="x=1", access=buyer, headers=headers)
        assert (answer.status, answer.headers["content-type"]) == (415, "application/problem+json"), codec
    assert send_request_blocking("GET", "/api/v1/products", query="limit=1", headers=headers).status == 200


@pytest.mark.parametrize("path", ["/api/v1/coupons", "/api/v1/orders", "/api/v1/payments", NULL])
def test_a_body_of_thousands_of_fields_is_refused_without_blocking_the_event_loop(buyer, path):
    unknown = {f"f{number}": 1 for number in range(5_000)}
    answer = send_request_blocking("POST", path, unknown, access=buyer, headers={"Idempotency-Key": "many"})
    problem = answer.json()
    assert (answer.status, problem["code"]) == (400, "invalid")
    assert [error["code"] for error in problem["errors"]] == ["too_many_values"]


def test_what_stands_in_a_text_is_no_value_of_the_body(buyer, settings):
    body = {"campaign": 987654321, "user": ",[{" * 400}
    staff = token_pairs.create_access_token(SuperuserFactory())
    for settings.BURST in (True, False):
        answer = send_request_blocking("POST", "/api/v1/coupons", body, access=staff)
        assert [error["code"] for error in answer.json()["errors"]] == ["int_type"]


def test_a_large_body_that_is_no_json_is_refused_as_any_other(buyer):
    assert orjson.loads(null(buyer, parts=[b"[" * 5_000]).body)["code"] == "malformed_json"
    texts = null(buyer, parts=[b"," * 5_000], headers={"Content-Type": "text/csv"})
    assert texts.status == 415


def test_an_order_of_50_lines_is_no_body_of_too_many_values():
    lines = [{"product": number, "quantity": 1_000} for number in range(2**62, 2**62 + 50)]
    order = {"items": lines, "coupon": "X" * 14, "points_amount": 1, "payment": {"token": "tok_visa"}}
    assert not json_format.has_many_values(order)


@pytest.mark.parametrize(
    ("method", "paths", "is_signed_in", "control"),
    [
        ("GET", ["wallet", "orders", "coupons", "users/me"], True, "no-store"),
        ("POST", ["auth/token", "auth/refresh"], False, "no-store"),
        ("POST", ["orders"], True, "no-store"),
        ("GET", ["products", "campaigns"], False, "no-cache"),
    ],
)
def test_responses_about_an_account_are_not_cached(buyer, method, paths, is_signed_in, control):
    for path in paths:
        answer = send_request_blocking(method, f"/api/v1/{path}", access=buyer if is_signed_in else "")
        assert answer.status < 500
        assert answer.headers.get("cache-control") == control, path
