"""HAProxy before the web nodes: what a client sees when a node dies during its request."""

import http.client
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.cluster import layout, packages, templates
from scripts.cluster.layout import Cluster
from scripts.stack import children, ports
from scripts.stack.mariadb import SEARCH_PATH

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy", path=SEARCH_PATH) is None,
    reason="HAProxy, which `make cluster` installs, is missing",
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Node:
    """A web node that is ready; at a client's request it ends the connection, or hangs, if it is to."""

    port: int
    dies: threading.Event
    hangs: threading.Event
    requests: list[str] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
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


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(home=tmp_path, first_port=ports.free(layout.PORTS))


@contextmanager
def front(
    cluster: Cluster, dies: threading.Event, hangs: threading.Event | None = None
) -> Iterator[list[Node]]:
    """HAProxy before three nodes, all of which are ready; the next that is asked may die, or all may hang."""
    cluster.settings.mkdir()
    for name in ("haproxy-front.cfg", "unavailable.http"):
        templates.write(cluster.settings / name, name, cluster)
    settings = cluster.settings / "haproxy-front.cfg"
    settings.write_text(settings.read_text().replace("timeout server 35s", "timeout server 1s"))
    nodes, listening = [], []
    for number in layout.numbers("web"):
        node = Node(cluster.port("web", number), dies, hangs or threading.Event())
        listening.append(socket.create_server((ports.HOST, node.port)))
        threading.Thread(target=node.serve, args=(listening[-1],), daemon=True).start()
        nodes.append(node)
    command = [packages.program("haproxy"), "-db", "-f", str(settings)]
    log = cluster.home / "haproxy.log"
    child = children.start(command, log=log, environment=dict(os.environ))
    try:
        deadline = time.monotonic() + 30
        while _status(cluster) != 200:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        for node in nodes:
            node.requests.clear()
        yield nodes
    finally:
        children.stop(child, within_seconds=10)
        for one in listening:
            one.close()


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
    cluster: Cluster, method: str, path: str, headers: dict[str, str]
):
    dies = threading.Event()
    with front(cluster, dies) as nodes, closing(_kept_connection(cluster)) as client:
        dies.set()
        client.request(method, path, b"{}", headers)
        assert client.getresponse().read() == b"ok"
        asked = [request for node in nodes for request in node.requests if request.startswith(method)]
        assert asked.count(f"{method} {path}") == 2


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
    cluster: Cluster, path: str, key: dict[str, str]
):
    dies = threading.Event()
    with front(cluster, dies) as nodes:
        client = http.client.HTTPConnection(ports.HOST, cluster.port("front"), timeout=5)
        with closing(client):
            dies.set()
            client.request("POST", path, b"{}", key)
            answer = client.getresponse()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert [request for node in nodes for request in node.requests] == [f"POST {path}"]


def test_a_call_whose_node_hangs_is_answered_that_its_outcome_is_unknown_and_its_key_may_be_repeated(
    cluster: Cluster,
):
    hangs = threading.Event()
    with front(cluster, threading.Event(), hangs) as nodes:
        hangs.set()
        with closing(http.client.HTTPConnection(ports.HOST, cluster.port("front"), timeout=5)) as client:
            client.request("POST", "/api/v1/orders", b"{}", {"Idempotency-Key": "one"})
            answer = client.getresponse()
            problem = json.loads(answer.read())
        assert [request for node in nodes for request in node.requests] == ["POST /api/v1/orders"]
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (problem["code"], problem["status"]) == ("unavailable", 503)
    assert "not known whether this was done" in problem["detail"]
    assert "same Idempotency-Key" in problem["detail"]


def _kept_connection(cluster: Cluster) -> http.client.HTTPConnection:
    """A connection that has had an answer: HAProxy gives no 503 to a later request of it when a node dies."""
    client = http.client.HTTPConnection(ports.HOST, cluster.port("front"), timeout=5)
    client.request("GET", "/api/v1/campaigns")
    client.getresponse().read()
    return client
