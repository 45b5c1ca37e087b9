"""The campaign `releases`: what counts as a failed request, and draining at the balancer."""

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.chaos.availability import Request
from scripts.chaos.campaigns.rolling import balancer, rolls
from scripts.chaos.campaigns.rolling.processes import WEB
from scripts.stack import children, ports
from scripts.stack.instance import Instance
from scripts.tests.listening import serve
from shop.tests.racing import wait_until

NODE_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Node:
    """A web server of its own that is ready; a request waits while `may_answer` is not set."""

    may_answer: threading.Event = field(default_factory=threading.Event)
    requests: int = 0

    def answer_connection(self, connection: socket.socket) -> None:
        with suppress(ConnectionResetError), connection, connection.makefile("rb") as received:
            while line := received.readline():
                while received.readline() not in (b"\r\n", b""):
                    pass
                if b"/readyz" not in line and b"/healthz" not in line:
                    self.requests += 1
                    self.may_answer.wait(20)
                connection.sendall(NODE_ANSWER)


def result(text: str) -> Request:
    return Request(0.0, 1.0, "POST", "/orders", text)


def test_no_answer_and_every_5xx_but_503_are_failed_requests() -> None:
    good = ["201", "202", "402 payment_declined", "409 sold_out", "503 unavailable"]
    bad = ["no answer", "500 internal_error", "502 partner_failed", "599 not_json"]
    assert rolls.failures(map(result, good + bad)) == dict.fromkeys(
        (f"POST /orders: {one}" for one in bad), 1
    )


@contextmanager
def balanced(tmp_path: Path) -> Iterator[tuple[Instance, dict[str, Node]]]:
    """The balancer before two web servers that are ready."""
    instance = Instance(home=tmp_path, port=ports.free(), database="mariadb")
    instance.run.mkdir()
    first = ports.free(len(WEB) + 1)
    balancer.write(instance, first_web_port=first)
    nodes = {name: Node() for name in WEB}
    listening = [serve(first + number, nodes[name].answer_connection) for number, name in enumerate(WEB)]
    log = tmp_path / "haproxy.log"
    child = children.start(balancer.command(instance), log=log, environment=dict(os.environ))
    try:
        address = (ports.HOST, instance.port)
        children.wait_until(
            lambda: ports.answers(address), name="haproxy", child=child, log=log, within_seconds=20
        )
        for name in WEB:
            balancer.wait_until_up(instance, name)
        yield instance, nodes
    finally:
        for node in nodes.values():
            node.may_answer.set()
        children.stop(child)
        for listener in listening:
            listener.close()


def ask(instance: Instance) -> int:
    connection = http.client.HTTPConnection(ports.HOST, instance.port, timeout=30)
    try:
        connection.request("GET", "/api/v1/products")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.boots("HAProxy")
def test_a_drained_web_server_ends_its_request_and_gets_no_other_until_it_is_admitted(tmp_path: Path) -> None:
    with balanced(tmp_path) as (instance, nodes):
        first = threading.Thread(target=ask, args=[instance])
        first.start()
        wait_until(lambda: any(node.requests for node in nodes.values()))
        [busy] = [name for name in WEB if nodes[name].requests]
        [other] = [name for name in WEB if name != busy]
        nodes[other].may_answer.set()
        drained = threading.Event()
        draining = threading.Thread(target=lambda: (balancer.drain(instance, busy), drained.set()))
        draining.start()
        wait_until(lambda: balancer.rows(instance)["ready", busy]["status"].startswith("DRAIN"))
        assert [ask(instance) for _ in range(6)] == [200] * 6
        assert (nodes[busy].requests, nodes[other].requests) == (1, 6)
        assert not drained.is_set()
        nodes[busy].may_answer.set()
        draining.join(20)
        assert drained.is_set()
        first.join(20)
        balancer.admit(instance, busy)
        before = balancer.requests(instance, busy)
        wait_until(lambda: ask(instance) == 200 and balancer.requests(instance, busy) > before)
