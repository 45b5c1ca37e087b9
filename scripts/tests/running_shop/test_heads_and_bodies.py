"""Heads and bodies of requests at the real server: what is read, what is refused, and what is waited for."""

import itertools
import select
import socket
import time
from http.client import HTTPResponse

import orjson
from django.conf import settings

from scripts.tests.running_shop.stack import RunningShop
from shop.tests import test_web_server as protocol
from shop.tests.browser.stack import session_of
from shop.tests.factories import AccountFactory
from shop.tests.test_web_server import IMPORT, connect, head_of, outcome_on, slow_call

PATHS = [
    "/",
    "/healthz",
    "/metrics",
    "/api/schema/",
    "/admin/login/",
    "/api/v1/auth/token",
    "/nowhere",
    IMPORT,
]
LARGE = 40 * 2**20


def test_a_request_for_an_unknown_host_is_refused(running_shop: RunningShop) -> None:
    statuses = {}
    for host in (b"elsewhere.example", b"127.0.0.1.elsewhere.example", b"a b", b"127.0.0.1", b"localhost"):
        with connect(running_shop.address) as connection:
            connection.sendall(b"GET /api/v1/products HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            statuses[host] = protocol.status_on(connection)
    assert list(statuses.values()) == [400, 400, 400, 200, 200]


def test_a_declared_40_mib_are_refused_everywhere_before_they_are_sent(running_shop: RunningShop) -> None:
    answers = {}
    for method, path in itertools.product(["POST", "GET"], PATHS):
        with connect(running_shop.address) as connection:
            connection.sendall(head_of(method, path, f"Content-Length: {LARGE}"))
            answers[f"{method} {path}"] = outcome_on(connection)
    assert answers == dict.fromkeys(answers, (413, "too_large"))


def test_bodies_in_chunks_are_counted_everywhere_and_refused_past_the_limit(
    running_shop: RunningShop,
) -> None:
    answers = {}
    for path in PATHS:
        with connect(running_shop.address) as connection:
            connection.sendall(head_of("POST", path, "Transfer-Encoding: chunked"))
            connection.sendall(b"%x\r\n" % 70_000 + b"x" * 70_000 + b"\r\n0\r\n\r\n")
            answers[path] = outcome_on(connection)
    assert answers == dict.fromkeys(answers, (413, "too_large"))


def test_staff_who_lack_a_permission_of_the_page_are_refused_before_their_upload_is_read(
    running_shop: RunningShop,
) -> None:
    needed = settings.UPLOADS[IMPORT]
    for held in [(), *itertools.combinations(needed, len(needed) - 1)]:
        cookies = f"sessionid={session_of(AccountFactory.create(is_staff=True, permissions=held))}"
        with connect(running_shop.address) as connection:
            connection.sendall(head_of("POST", IMPORT, f"Content-Length: {2**20}", cookies=cookies))
            assert outcome_on(connection) == (403, "permission_denied"), held


def test_a_body_that_comes_in_time_is_answered_however_slow_it_was(running_shop: RunningShop) -> None:
    body = b'{"username": "ada", "password": "x"}'
    head = [f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"]
    for line, parts in zip(head, (body, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)), strict=True):
        with connect(running_shop.address) as connection:
            connection.sendall(head_of("POST", "/api/v1/auth/token", line, content_type="application/json"))
            for at in range(0, len(parts), 9):
                time.sleep(0.2)
                connection.sendall(parts[at : at + 9])
            assert outcome_on(connection) == (401, "invalid_credentials")


def test_a_trailer_that_names_another_client_is_refused(running_shop: RunningShop) -> None:
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


def test_a_body_that_breaks_off_is_not_taken_for_a_shorter_one(running_shop: RunningShop) -> None:
    with slow_call(running_shop.address, "Content-Length: 1000") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_a_client_that_sends_the_body_late_gets_the_response_and_keeps_the_connection(
    running_shop: RunningShop,
) -> None:
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
