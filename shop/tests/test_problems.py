"""Every refusal is a problem with its code, whatever layer refuses; and small, however wrong the body is."""

import asyncio
import re
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django import urls
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpResponse
from django.test import Client
from rest_framework import exceptions
from rest_framework.permissions import AllowAny

from accounts.tests.clients import client_of, faults, new_customer, new_superuser
from accounts.tokens import token_pairs
from foundation.concurrency import event_loop
from foundation.errors import Invalid
from foundation.http import keyed_calls, problems, request_body
from foundation.http.messages import BurstRequest
from foundation.http.views import View
from foundation.idempotency.recorded_answers import Answer
from foundation.scopes import Resource
from foundation.tests import openapi_document
from foundation.tests.asgi_client import send_request, send_request_blocking
from foundation.tests.case_tables import check_each, in_one_test
from foundation.tests.factories import AccountFactory
from foundation.tests.outages import database_away
from inventory.imports import stock_files
from inventory.tests.factories import ProductFactory
from shop.burst import lane, table
from shop.urls import handler400, handler403, handler404, handler500, urlpatterns

NULL = "/lab/null"
pytestmark = pytest.mark.urls("lab.urls")
in_failing_urls = pytest.mark.urls(__name__)
"""The project's URLs, and views that fail in every way a view can."""
__all__ = ["handler400", "handler403", "handler404", "handler500"]


class Failing(View):
    resource = Resource.NONE
    permission_classes = [AllowAny]

    def get(self, request, work: Exception | str) -> HttpResponse:
        return plain(request, work)


def plain(request, work: Exception | str) -> HttpResponse:
    """A view outside REST framework that raises the error, or sends the statement to the database."""
    if isinstance(work, Exception):
        raise work
    with connection.cursor() as cursor:
        cursor.execute(work)
    return HttpResponse("there")


urlpatterns = [
    *urlpatterns,
    urls.path("api/v1/broken", Failing.as_view(), {"work": RuntimeError("secret-of-the-house")}),
    urls.path("api/v1/bad-sql", Failing.as_view(), {"work": "SELECT secret FROM house"}),
    urls.path("plain/broken", plain, {"work": RuntimeError("secret-of-the-house")}),
    urls.path("plain/missing", plain, {"work": Http404("secret-of-the-house")}),
    urls.path("plain/forbidden", plain, {"work": PermissionDenied("secret-of-the-house")}),
    urls.path("plain/querying", plain, {"work": "SELECT 1"}),
]


@pytest.fixture
def api(db):
    return new_customer()


def assert_problem(response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = orjson.loads(response.content)
    assert problem.keys() >= {"type", "title", "status", "detail", "code"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response.headers["X-Request-ID"]
    for secret in (b"secret", b"Traceback", b"SELECT"):
        assert secret not in response.content
    return problem


MALFORMED = [
    b"{",
    b"nothing",
    b"'single'",
    b'{"campaign": NaN}',
    b'{"campaign": Infinity}',
    b'{"campaign": 1e400}',
    b'{"campaign": 01}',
    b'{"campaign": 1,}',
    b'{"campaign": "\xff"}',
    b'{"campaign": "\\ud800"}',
    b"\xef\xbb\xbf{}",
    b"[" * 10_000 + b"]" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b"[" * 1_000 + b"]" * 1_000,
    b"[" * 33 + b"]" * 33,
]
NO_OBJECTS = [b"[]", b"1", b'"text"', b"null", b"true", b"[" * 32 + b"]" * 32]
NO_CAMPAIGNS = {
    b'"1"': "int_type",
    b"1.0": "int_type",
    b"1e2": "int_type",
    b"true": "int_type",
    b"[1]": "int_type",
    b'{"a": 1}': "int_type",
    b"0": "greater_than_equal",
    b"-1": "greater_than_equal",
    b"9223372036854775808": "less_than_equal",
    b"18446744073709551616": "int_type",
    b"null": "required",
}


def test_a_body_that_is_not_json_is_malformed(api):
    check_each(MALFORMED, lambda body: assert_problem(api.post(NULL, body), 400, "malformed_json"))


@in_one_test("body", NO_OBJECTS)
def test_a_body_must_be_an_object(api, body):
    expected = {"field": "", "code": "not_an_object", "detail": "The body must be a JSON object."}
    assert assert_problem(api.post(NULL, body), 400, "invalid")["errors"] == [expected]


@in_one_test(("value", "code"), NO_CAMPAIGNS.items())
def test_an_integer_is_an_integer_in_bounds(api, value, code):
    problem = assert_problem(api.post(NULL, b'{"campaign": %s}' % value), 400, "invalid")
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [("campaign", code)]


def test_unknown_fields_are_refused_and_every_error_is_reported(api):
    problem = assert_problem(api.post(NULL, {"extra": 1, "more": {"a": []}}), 400, "invalid")

    found = {(error["field"], error["code"]) for error in problem["errors"]}
    assert found == {("campaign", "required"), ("extra", "unknown_field"), ("more", "unknown_field")}
    # An empty body is an empty object, and null means absent.
    for body in (b"", b"{}", b'{"campaign": null}'):
        problem = assert_problem(api.post(NULL, body), 400, "invalid")
        assert [error["code"] for error in problem["errors"]] == ["required"]


def test_64_kib_are_accepted_and_a_byte_more_is_too_large(api):
    def body_of(length):
        return b'{"campaign": 1}'.ljust(length)

    assert api.post(NULL, body_of(64 * 1024)).status_code == 200
    assert_problem(api.post(NULL, body_of(64 * 1024 + 1)), 413, "too_large")


def test_the_total_size_of_unfinished_bodies_is_bounded(transactional_db, monkeypatch):
    """The sum is bounded, because each body may have 64 KiB; refused and broken bodies no longer count."""
    monkeypatch.setattr(request_body, "MAX_UNFINISHED_BYTES", 100_000)
    part = b" " * 30_000

    async def send_three():
        slow = [
            asyncio.create_task(send_request("POST", "/api/v1/orders", parts=[part], is_stalled=True))
            for _ in range(3)
        ]
        await asyncio.sleep(0.1)
        one_more = await send_request("POST", "/api/v1/orders", parts=[part, part])
        small = await send_request("POST", "/api/v1/orders", parts=[b"{", b"}"])
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        return [one_more, small, await send_request("POST", "/api/v1/orders", parts=[part, part])]

    one_more, small, later = asyncio.run(send_three())
    assert (one_more.status, one_more.json()["code"]) == (503, "overloaded")
    assert (small.status, later.status) == (401, 401)
    assert request_body._unfinished_bytes == 0


@in_one_test(
    "content_type",
    [
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"),
        *("application/xml", "application/json; charset=utf-16"),
    ],
)
def test_only_json_in_utf_8_is_understood(db, content_type):
    response = Client().post("/api/v1/auth/token", b'{"username": "a"}', content_type=content_type)
    assert_problem(response, 415, "unsupported_media_type")


@in_one_test("path", ["/products", "/orders", "/wallet"])
def test_an_unsupported_method_is_refused_before_authentication(path):
    response = client_of()._call("DELETE", path, None, "", {})
    assert_problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]


@in_one_test("path", ["/healthz", "/readyz", "/metrics"])
def test_plain_views_refuse_unsupported_methods_before_the_csrf_check(path):
    response = Client(enforce_csrf_checks=True).post(path)
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD"


def test_an_unknown_path_is_not_found_and_an_unknown_host_refused(db):
    paths = ["/nothing", "/api/v1/nothing", "/api/v1/users/", "/api/v2/users", "/api/v1/%FF"]
    check_each(paths, lambda path: assert_problem(Client().get(path), 404, "not_found"))
    assert_problem(Client(headers={"Host": "evil.example"}).get("/api/v1/users/me"), 400, "invalid")


@in_failing_urls
@pytest.mark.django_db
@in_one_test(
    ("debug", "path"), product([False, True], ["/api/v1/broken", "/api/v1/bad-sql", "/plain/broken"])
)
def test_an_internal_error_does_not_expose_internals(settings, debug, path):
    settings.DEBUG = debug
    assert_problem(Client(raise_request_exception=False).get(path), 500, "internal_error")


@in_failing_urls
def test_djangos_own_refusals_are_problems_too():
    assert_problem(Client().get("/plain/missing"), 404, "not_found")
    assert_problem(Client().get("/plain/forbidden"), 403, "permission_denied")


@in_failing_urls
@pytest.mark.django_db(transaction=True)
def test_without_a_database_calls_are_unavailable_and_recover_by_themselves():
    account = AccountFactory()
    api = client_of(account)
    plain = Client(raise_request_exception=False)
    refresh = token_pairs.create_token_pair(account).refresh

    with database_away():
        for response in (
            api.get("/users/me"),
            api.post("/auth/token", {"username": "ada", "password": "any"}),
            api.post("/auth/refresh", {"refresh": refresh}),
            plain.get("/plain/querying"),
        ):
            assert_problem(response, 503, "unavailable")
            assert int(response.headers["Retry-After"]) >= 1
    assert api.get("/users/me").status_code == 200


@in_one_test(
    ("method", "path", "body", "code"),
    [
        ("POST", "/orders", b"", "not_authenticated"),
        ("GET", f"/orders/{UUID(int=1)}", b"", "not_authenticated"),
        ("POST", "/auth/token", b"{", "malformed_json"),
        ("POST", "/auth/token", b"{}", "invalid"),
    ],
)
def test_a_problem_passes_answer_call_with_its_code(method, path, body, code):
    fields = {b"host": b"localhost", b"content-type": b"application/json"}
    request, found = BurstRequest(method, f"/api/v1{path}", fields, body), table.find(method, path[1:])
    assert found
    response = event_loop.run_blocking(lane.answer_call(request, found))
    assert response.code == orjson.loads(response.body)["code"] == code


def test_recorded_problems_have_their_code_and_errors_of_rest_framework_are_problems():
    declined = Answer(402, problems.problem(402, "card_declined", "The card was declined.").body)

    for is_replay in (False, True):
        assert keyed_calls.respond(declined, is_replay=is_replay).code == "card_declined"
    wrong = problems.from_error(exceptions.ParseError("Not even that."))
    assert (wrong.status_code, wrong.code) == (400, "parse_error")
    failed = problems.from_error(exceptions.AuthenticationFailed("No such badge."))
    assert (failed.status_code, failed.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_every_answer_names_its_request():
    assert Client(headers={"X-Request-ID": "my-own.1"}).get("/healthz").headers["X-Request-ID"] == "my-own.1"
    for unfit in ("", "a" * 65, "two words", "line\nbreak"):
        named = Client(headers={"X-Request-ID": unfit}).get("/nothing").headers["X-Request-ID"]
        assert len(named) == 36


REFUSED_BY_LAYER = [
    # Before a lane begins.
    (400, "GET", "/products", {"query": "&".join(["a=1"] * 1_001)}),
    (413, "POST", "/orders", {"body": b" " * (64 * 1024 + 1)}),
    (
        415,
        "POST",
        "/orders",
        {"body": b"{}", "headers": {"Content-Type": "application/json; charset=utf-16"}},
    ),
    (401, "GET", "/wallet", {"access": "fc_key_nothing"}),
    # The burst lane.
    (401, "POST", "/orders", {}),
    # Django's lane, its view, its URLs, its middlewares.
    (401, "GET", "/wallet", {}),
    (405, "DELETE", "/wallet", {}),
    (400, "GET", "/wallet", {"headers": {"Host": "elsewhere.example"}}),
]


@pytest.mark.django_db(transaction=True)
@in_one_test(("status", "method", "path", "about"), REFUSED_BY_LAYER)
@pytest.mark.parametrize("given", ["my-own.1", "two words"])
def test_whatever_layer_refuses_its_problem_names_the_request(given, status, method, path, about):
    headers = {"X-Request-ID": given} | about.get("headers", {})
    answer = send_request_blocking(method, f"/api/v1{path}", **about | {"headers": headers})
    assert answer.status == status
    named = answer.json()["request_id"]
    assert named == answer.headers["x-request-id"]
    assert (named == given) is (given == "my-own.1")
    assert int(answer.headers["content-length"]) == len(answer.body)


TEXT_FIELDS = [
    ("/products", {"sku": "TEA", "price": 1}, "name"),
    ("/products/{product}/stock-adjustments", {"delta": 1}, "reason"),
    ("/orders/01890a5d-ac96-774b-bcce-b302099a8057/refunds", {}, "reason"),
    ("/wallet/grants", {"user": 1, "amount": 1}, "reason"),
    ("/coupons/ABC/void", {}, "reason"),
]


@pytest.mark.parametrize("control", ["\0", "\x07", "\x1b", "\x7f"], ids=ascii)
def test_control_characters_are_refused_in_text_fields(db, control):
    staff = new_superuser()
    product = ProductFactory()
    for path, body, field in TEXT_FIELDS:
        refused = staff.post(path.format(product=product.id), body | {field: f"a{control}b"}, key=path)
        assert faults(refused) == [(field, "control_character")], path


@pytest.mark.parametrize("name", ["a\0b", "\0", "a\x1b"], ids=ascii)
def test_control_characters_are_no_part_of_an_accounts_names(db, name):
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}
    refused = client_of().post("/users", body)
    assert {field for field, _ in faults(refused)} == {"username", "email"}


@pytest.mark.parametrize("control", ["\0", "\x1b"], ids=ascii)
def test_control_characters_in_a_stock_file_are_reported_with_their_line(control):
    with pytest.raises(Invalid) as caught:
        stock_files.read(["sku,name,price,quantity\n", "TEA,Tea,1,1\n", f"CUP,C{control}up,1,1\n"])
    [error] = caught.value.extra["errors"]
    assert (error["line"], error["field"], error["code"]) == (3, "name", "control_character")


# 58 KB of 7,000 unknown fields were answered by 612 KB, to anybody and uncounted: eight connections slowed
# the calls of all others from 2 to some 300 ms.
LARGEST_ANSWER = 16 * 1024
NEARLY_64_KIB = 64_000


def bodies(properties: dict[str, Any]) -> dict[str, Any]:
    """Bodies of nearly 64 KiB that nothing takes, by what is wrong with them."""
    found: dict[str, Any] = {
        "many unknown fields": {f"x{number:04}": 1 for number in range(5_000)},
        "some unknown fields": {f"x{number:03}" + "y" * 60: 1 for number in range(990)},
        "an unknown field with a long name": {"x" * NEARLY_64_KIB: 1},
        "fields in fields": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        "no object": [1] * 20_000,
    }
    for name in properties:
        found |= {
            f"many fields in {name}": {name: {f"x{number:04}": 1 for number in range(5_000)}},
            f"a list of wrong values in {name}": {name: ["?"] * 12_000},
            f"a list of objects in {name}": {name: [{"y" * 70: 1}] * 800},
            f"a long text in {name}": {name: "x" * NEARLY_64_KIB},
        }
    return found


def test_any_answer_to_a_wrong_body_is_small(transactional_db):
    document = openapi_document.read()
    staff, anybody = new_superuser(), client_of()
    wrong, count = [], 0
    for path, operations in document["paths"].items():
        for method in ("post", "patch", "put"):
            content = operations.get(method, {}).get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if not schema:
                continue
            name = schema.get("$ref", "").rpartition("/")[2]
            properties = document["components"]["schemas"].get(name, schema).get("properties", {})
            address = re.sub(r"\{[^}]+\}", lambda part: str(uuid4()) if "id" in part[0] else "1", path)
            for caller in (anybody, staff):
                for about, body in bodies(properties).items():
                    count += 1
                    answer = getattr(caller, "patch" if method == "put" else method)(
                        address, body, key=str(uuid4())
                    )
                    errors = answer.json().get("errors", []) if answer.content else []
                    if answer.status_code >= 500 or len(answer.content) > LARGEST_ANSWER or len(errors) > 20:
                        wrong.append(
                            (method, path, about, answer.status_code, len(answer.content), len(errors))
                        )
    assert wrong == []
    assert count > 500
