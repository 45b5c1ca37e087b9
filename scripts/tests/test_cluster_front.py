"""HAProxy before the web nodes: what a client sees when a node dies during its request."""

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from scripts.cluster import layout, packages, templates
from scripts.cluster.layout import Cluster
from scripts.stack import children, ports


def serve(port: int, answer: Callable[[socket.socket], None]) -> socket.socket:
    """Listen on the port, and call `answer` with each connection, until the socket returned is closed."""
    listening = socket.create_server((ports.HOST, port))
    threading.Thread(target=_accept, args=(listening, answer), daemon=True).start()
    return listening


def _accept(listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


pytestmark = pytest.mark.boots("HAProxy")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Node:
    """A web node that is ready; at a client's request it ends the connection, or hangs, if it is to."""

    port: int
    dies: threading.Event
    hangs: threading.Event
    requests: list[str] = field(default_factory=list)

    def answer_connection(self, connection: socket.socket) -> None:
        # HAProxy resets the connections of its checks.
        with suppress(ConnectionResetError), connection, connection.makefile("rb") as received:
            while line := received.readline():
                length = 0
                while (header := received.readline()) not in (b"\r\n", b""):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                received.read(length)
                if b"/readyz" not in line and b"/healthz" not in line:
                    self.requests.append(line.split(b" HTTP")[0].decode())
                    if self.dies.is_set():
                        self.dies.clear()
                        return
                    if self.hangs.is_set():
                        continue
                connection.sendall(ANSWER)


class Front(NamedTuple):
    """HAProxy before three nodes, all of which are ready; the next that is asked may die, or all may hang."""

    cluster: Cluster
    nodes: list[Node]
    dies: threading.Event
    hangs: threading.Event

    def asked(self, method: str) -> list[str]:
        """What the nodes were asked by this method since they were last looked at."""
        found = [one for node in self.nodes for one in node.requests if one.startswith(method)]
        for node in self.nodes:
            node.requests.clear()
        return found

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(ports.HOST, self.cluster.port("front"), timeout=5)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("front")
    cluster = Cluster(home=home, first_port=ports.free(layout.PORTS))
    dies, hangs = threading.Event(), threading.Event()
    cluster.settings.mkdir()
    for name in ("haproxy-front.cfg", "unavailable.http"):
        templates.write(cluster.settings / name, name, cluster)
    settings = cluster.settings / "haproxy-front.cfg"
    settings.write_text(settings.read_text().replace("timeout server 35s", "timeout server 1s"))
    nodes = [Node(cluster.port("web", number), dies, hangs) for number in layout.numbers("web")]
    listening = [serve(node.port, node.answer_connection) for node in nodes]
    command = [packages.program("haproxy"), "-db", "-f", str(settings)]
    child = children.start(command, log=home / "haproxy.log", environment=dict(os.environ))
    try:
        yield Front(cluster, nodes, dies, hangs)
    finally:
        children.stop(child, within_seconds=10)
        for one in listening:
            one.close()


@pytest.fixture
def front(running: Front) -> Front:
    """All nodes are up again, and were asked nothing."""
    running.dies.clear()
    running.hangs.clear()
    deadline = time.monotonic() + 30
    while _status(running.cluster) != 200:
        assert time.monotonic() < deadline, (running.cluster.home / "haproxy.log").read_text()
        time.sleep(0.1)
    running.asked("")
    return running


def _status(cluster: Cluster) -> int | None:
    with closing(http.client.HTTPConnection(ports.HOST, cluster.port("front"), timeout=5)) as client:
        try:
            client.request("GET", "/")
            return client.getresponse().status
        except OSError:
            return None


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/v1/orders", {}),
        ("POST", "/api/v1/orders", {"Idempotency-Key": "one"}),
        ("POST", "/api/v1/orders/0b/refunds", {"Idempotency-Key": "one"}),
        ("POST", "/api/v1/coupons", {}),
    ],
)
def test_a_request_that_may_be_repeated_is_answered_by_another_node(
    front: Front, method: str, path: str, headers: dict[str, str]
):
    with closing(_kept_connection(front)) as client:
        front.asked("")
        front.dies.set()
        client.request(method, path, b"{}", headers)
        assert client.getresponse().read() == b"ok"
    assert front.asked(method).count(f"{method} {path}") == 2


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/api/v1/campaigns", {}),
        ("/api/v1/orders", {}),
        # The API ignores a key there.
        ("/api/v1/auth/refresh", {"Idempotency-Key": "one"}),
        ("/api/v1/campaigns/1/codes", {"Idempotency-Key": "one"}),
    ],
)
def test_a_request_that_the_api_records_under_no_key_arrives_once(
    front: Front, path: str, key: dict[str, str]
):
    with closing(front.client()) as client:
        front.dies.set()
        client.request("POST", path, b"{}", key)
        answer = client.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert front.asked("POST") == [f"POST {path}"]


def test_a_call_whose_node_hangs_is_answered_that_its_outcome_is_unknown_and_its_key_may_be_repeated(
    front: Front,
):
    front.hangs.set()
    with closing(front.client()) as client:
        client.request("POST", "/api/v1/orders", b"{}", {"Idempotency-Key": "one"})
        answer = client.getresponse()
        problem = json.loads(answer.read())
    assert front.asked("POST") == ["POST /api/v1/orders"]
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (problem["code"], problem["status"]) == ("unavailable", 503)
    assert "not known whether this was done" in problem["detail"]
    assert "same Idempotency-Key" in problem["detail"]


def _kept_connection(front: Front) -> http.client.HTTPConnection:
    """A connection that has had an answer: HAProxy gives no 503 to a later request of it when a node dies."""
    client = front.client()
    client.request("GET", "/api/v1/campaigns")
    client.getresponse().read()
    return client
