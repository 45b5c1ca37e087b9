"""What clients and operators see of the running shop: heads, bodies, metrics, logs, pages and exports."""

import itertools
import json
import os
import re
import select
import socket
from http.client import HTTPResponse
from typing import Any

import orjson
import urllib3
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from coupons.models import Coupon
from foundation.tests.factories import AccountFactory, SuperuserFactory, reloaded
from foundation.tests.second_connection import ask
from inventory.tests.factories import ProductFactory
from orders.models import Saga
from orders.tests import buying
from orders.tests.buying import order_of
from scripts.stack import instance as instances, ports, throwaway
from scripts.tests.running_shop.calls import eventually
from scripts.tests.running_shop.stack import HTTP, RunningShop
from shop.tests import test_web_server as protocol
from shop.tests.browser.stack import session_of
from shop.tests.test_web_server import IMPORT, connect, head_of, outcome_on, slow_call

EXPORT = "/admin/auth/user/export/"
KEY = "a-key-that-no-line-may-quote"


def answered_by(status: int, shop: RunningShop) -> float:
    """The number of requests that all workers together have answered by this status."""
    counted = re.findall(
        rf'^django_http_responses_total_by_status_view_method_total{{.*status="{status}".*}} (\S+)$',
        shop.text("/metrics"),
        re.M,
    )
    return sum(map(float, counted))


def test_the_database_is_of_the_kind_that_the_tests_run_on(running_shop):
    [(version,)] = ask(connection, "SELECT VERSION()")
    assert ("MariaDB" in version) == (os.environ[throwaway.KIND] != "mysql")


def test_a_refused_body_is_counted_and_its_response_names_the_request(running_shop):
    before = answered_by(413, running_shop)

    refused = urllib3.request(
        "POST",
        f"{running_shop.address}/api/v1/auth/token",
        body=b" " * (64 * 1024 + 1),
        headers={"X-Request-ID": "large"},
        retries=False,
    )

    assert (refused.status, refused.headers["X-Request-ID"]) == (413, "large")
    assert (refused.headers["Connection"], refused.headers["Cache-Control"]) == ("close", "no-store")
    assert answered_by(413, running_shop) == before + 1


def test_each_process_has_its_metrics_and_several_web_processes_do_not_sum_gauges(running_shop):
    """Whichever of them answers, the value is the same; they use the database's clock."""
    pattern = re.compile(r"^firstcome_events_queued (\S+)$", re.M)
    eventually(lambda: pattern.findall(running_shop.text("/metrics")) == ["0.0"])
    for _ in range(10):
        text = urllib3.request("GET", f"{running_shop.address}/metrics", retries=False).data.decode()
        assert pattern.findall(text) == ["0.0"]
    rows = running_shop.text("/metrics").splitlines()
    [line] = [row for row in rows if row.startswith("firstcome_clock_measurement_age_seconds ")]
    assert 0 <= float(line.split()[1]) < 120
    for name in ("worker", "beat"):
        address = (ports.HOST, running_shop.instance.port + instances.METRICS_PORTS[name])
        # The worker takes tasks, and so counts as started, before it serves them.
        eventually(lambda address=address: ports.answers(address))
        answer = HTTP.request("GET", "http://{}:{}/metrics".format(*address))
        assert (answer.status, b"\nprocess_start_time_seconds " in answer.data) == (200, True), name


def test_calls_bear_the_headers_that_protect_pages(running_shop):
    wanted = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
    for path in ("/api/v1/products", "/api/v1/nothing", "/admin/login/", "/healthz"):
        answer = HTTP.request("GET", running_shop.address + path)
        assert {name: answer.headers.get(name) for name in wanted} == wanted, path
        assert answer.headers["X-Request-ID"]


def test_an_export_through_a_real_server_is_complete(running_shop):
    User.objects.bulk_create(User(username=f"exported-{number:03}") for number in range(95))
    cookie = f"{settings.SESSION_COOKIE_NAME}={session_of(SuperuserFactory())}"
    response = HTTP.request("GET", f"{running_shop.address}{EXPORT}", headers={"Cookie": cookie})
    assert response.status == 200, response.data
    assert int(response.headers["Content-Length"]) == len(response.data)
    assert response.data.count(b"\r\n") == User.objects.count() + 1


def test_the_pages_and_the_files_that_they_name_are_served(running_shop):
    """All that these pages name, by the server's own middleware, for caches to keep."""
    missing, named = [], set[str]()
    for path in ("/demo/", "/admin/login/"):
        page = HTTP.request("GET", running_shop.address + path)
        assert page.status == 200, path
        named |= set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.data.decode()))
    assert named
    for path in sorted(named):
        answer = HTTP.request("GET", running_shop.address + path)
        if answer.status != 200 or "max-age=" not in answer.headers.get("Cache-Control", ""):
            missing.append((path, answer.status, answer.headers.get("Cache-Control")))
    assert missing == []


def lines(shop: RunningShop, process: str, **wanted: str) -> list[dict[str, Any]]:
    """The log lines of the process with these values; Celery's banner is no JSON."""
    text = shop.log(process).read_text()
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in found if all(line.get(key) == value for key, value in wanted.items())]


def buy_with_coupon(shop: RunningShop, buyer: User, token: str):
    """A purchase with a coupon, of a product with a telling name; the card's token is in the request's id."""
    product = ProductFactory(on_hand=5, price=5_000, name="Confidential present")
    body = order_of(product, token, coupon=buying.coupon_of(buyer.id).code)
    headers = {"Prefer": "wait=5", "X-Request-ID": f"request-{token}"}
    return shop.call(buyer, "POST", "/orders", body, key=f"{KEY}-{token}", **headers)


def test_an_order_is_followed_by_its_ids_through_web_and_worker(running_shop):
    # A name that is no part of another text in the logs of the tests before.
    buyer = AccountFactory(username="kim-who-is-followed", email="kim@example.com")
    began = {name: running_shop.log(name).stat().st_size for name in ("web", "worker")}
    paid = buy_with_coupon(running_shop, buyer, "tok_ok")
    declined = buy_with_coupon(running_shop, buyer, "tok_declined")
    unanswered = buy_with_coupon(running_shop, buyer, "tok_timeout_lost")
    assert [one.status for one in (paid, declined, unanswered)] == [201, 402, 202]

    saga = Saga.objects.get(request_id="request-tok_ok")
    eventually(lambda: reloaded(saga).ended_at is not None)
    ids = {
        "request_id": "request-tok_ok",
        "order": paid.json()["id"],
        "saga": str(saga.id),
        "account": buyer.id,
    }

    eventually(lambda: bool(lines(running_shop, "worker", order=ids["order"], event="saga ended")))
    for key in ("order", "request_id", "saga"):
        for process, event in (("web", "order placed"), ("worker", "saga ended")):
            [line] = lines(running_shop, process, event=event, **{key: ids[key]})
            assert line | ids == line
    assert line | {"kind": "purchase", "state": "done"} == line

    # The task has its request's id, in Celery's own lines as well.
    found = lines(running_shop, "worker", request_id="request-tok_ok")
    tasks = [line for line in found if "task" in line]
    assert {task["task"] for task in tasks} == {"orders.advance"}
    assert all(task["task_id"] in task["event"] for task in tasks)

    refusal = Saga.objects.get(request_id="request-tok_declined")
    [line] = lines(running_shop, "worker", request_id="request-tok_declined", event="saga ended")
    assert (line["state"], line["failure_code"]) == ("compensated", refusal.failure_code)
    assert line["order"] == str(refusal.about_id)

    # A line from deep inside, of the gateway's client, in a thread that knows no request.
    of_gateway = {"request_id": "request-tok_timeout_lost", "event": "gateway gave no usable answer"}
    warnings = lines(running_shop, "worker", **of_gateway)
    assert warnings
    own = {
        "order": unanswered.json()["id"],
        "saga": str(Saga.objects.get(request_id="request-tok_timeout_lost").id),
        "account": buyer.id,
    }
    assert [line | own for line in warnings] == warnings

    text = "".join(running_shop.log(name).read_text()[size:] for name, size in began.items())
    # What the logs may not have: keys, tokens, bodies, and what tells who the buyer is.
    secrets = [KEY, "Confidential", "kim@example.com", buyer.username, "Bearer", "eyJ", "Idempotency", "tok_"]
    secrets += Coupon.objects.filter(account=buyer).values_list("code", flat=True)
    assert [secret for secret in secrets if secret in text.replace("request-tok_", "request-")] == []


PATHS = (
    "/",
    "/healthz",
    "/metrics",
    "/api/schema/",
    "/admin/login/",
    "/api/v1/auth/token",
    "/nowhere",
    IMPORT,
)
LARGE = 40 * 2**20


def test_a_declared_40_mib_are_refused_everywhere_before_they_are_sent(running_shop):
    answers = {}
    for method, path in itertools.product(["POST", "GET"], PATHS):
        with connect(running_shop.address) as connection:
            connection.sendall(head_of(method, path, f"Content-Length: {LARGE}"))
            answers[f"{method} {path}"] = outcome_on(connection)
    assert answers == dict.fromkeys(answers, (413, "too_large"))


def test_bodies_in_chunks_are_counted_everywhere_and_refused_past_the_limit(running_shop):
    answers = {}
    for path in PATHS:
        with connect(running_shop.address) as connection:
            connection.sendall(head_of("POST", path, "Transfer-Encoding: chunked"))
            connection.sendall(b"%x\r\n" % 70_000 + b"x" * 70_000 + b"\r\n0\r\n\r\n")
            answers[path] = outcome_on(connection)
    assert answers == dict.fromkeys(answers, (413, "too_large"))


def test_staff_who_lack_a_permission_of_the_page_are_refused_before_their_upload_is_read(running_shop):
    needed = settings.UPLOADS[IMPORT]
    for held in [(), *itertools.combinations(needed, len(needed) - 1)]:
        cookies = f"sessionid={session_of(AccountFactory(is_staff=True, permissions=held))}"
        with connect(running_shop.address) as connection:
            connection.sendall(head_of("POST", IMPORT, f"Content-Length: {2**20}", cookies=cookies))
            assert outcome_on(connection) == (403, "permission_denied"), held


def test_a_trailer_that_names_another_client_is_refused(running_shop):
    """uvicorn takes trailers for headers, and the last address is believed of a proxy."""
    said = b'{"username": "nobody", "password": "guessed"}'
    body = b"%x\r\n%s\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n" % (len(said), said)
    statuses = []
    for proxied in ("", "X-Forwarded-For: 1.1.1.1\r\n"):
        with connect(running_shop.address) as connection:
            chunked = f"{proxied}Transfer-Encoding: chunked"
            head = head_of("POST", "/api/v1/auth/token", chunked, content_type="application/json")
            connection.sendall(head + body)
            statuses.append(protocol.status_on(connection))
    assert statuses == [401, 400]


def test_a_body_that_breaks_off_is_not_taken_for_a_shorter_one(running_shop):
    with slow_call(running_shop.address, "Content-Length: 1000") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_a_client_that_sends_the_body_late_gets_the_response_and_keeps_the_connection(running_shop):
    head = b"POST /api/v1/coupons HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    with connect(running_shop.address) as line:
        for _ in range(2):
            line.sendall(head)
            # A response before the body would arrive now, and the connection would be closed.
            assert select.select([line], [], [], 0.5)[0] == []
            line.sendall(b"{}")
            answer = HTTPResponse(line, method="POST")
            answer.begin()
            assert (answer.status, orjson.loads(answer.read())["code"]) == (401, "not_authenticated")
