"""HAProxy before the web nodes: what a client sees when a node dies during its request."""

import http.client
import json
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import pytest

from lab.cluster import layout
from lab.cluster.layout import Cluster
from scripts.stack import children, ports, system_packages
from scripts.tests import canned_shop
from scripts.tests.canned_shop import LOST, Answer

pytestmark = pytest.mark.boots("HAProxy")


@dataclass
class Front:
    """HAProxy before three nodes, all of which are ready; the next that is asked may die, or all may hang."""

    cluster: Cluster
    requests: list[str] = field(default_factory=list)
    dies: bool = False
    hangs: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    def answer(self, sent) -> Answer | None:
        if sent.path not in ("/readyz", "/healthz"):
            self.requests.append(f"{sent.method} {sent.path}")
            if self.dies:
                self.dies = False
                return LOST
            if self.hangs:
                self.is_over.wait()
                return LOST
        return Answer(200, b"ok")

    def asked(self, method: str) -> list[str]:
        """What the nodes were asked by this method since they were last looked at."""
        found = [one for one in self.requests if one.startswith(method)]
        self.requests.clear()
        return found

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(ports.HOST, self.cluster.port_of("front"), timeout=5)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    home = tmp_path_factory.mktemp("front")
    cluster = Cluster(home=home, port=ports.free(layout.PORTS))
    front = Front(cluster)
    cluster.settings.mkdir()
    for name in ("haproxy-front.cfg", "unavailable.http"):
        layout.write(cluster, cluster.settings / name)
    settings = cluster.settings / "haproxy-front.cfg"
    settings.write_text(settings.read_text().replace("timeout server 35s", "timeout server 1s"))
    command = [system_packages.program("haproxy"), "-db", "-f", str(settings)]
    with ExitStack() as started:
        started.callback(front.is_over.set)
        for name in layout.names("web"):
            node = started.enter_context(canned_shop.running(cluster.port_of(name)))
            node.answer = front.answer
        started.callback(children.stop, children.start(command, log=home / "haproxy.log"))
        yield front


@pytest.fixture
def front(running):
    """All nodes are up again, and were asked nothing."""
    running.dies = running.hangs = False
    deadline = time.monotonic() + 30
    while _status(running) != 200:
        assert time.monotonic() < deadline, (running.cluster.home / "haproxy.log").read_text()
        time.sleep(0.1)
    running.asked("")
    return running


def _status(front):
    with closing(front.client()) as client:
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
def test_a_request_that_may_be_repeated_is_answered_by_another_node(front, method, path, headers):
    with closing(front.client()) as client:
        # HAProxy gives no 503 to a later request of a connection that has had an answer when a node dies.
        client.request("GET", "/api/v1/campaigns")
        client.getresponse().read()
        front.asked("")
        front.dies = True
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
def test_a_request_that_the_api_records_under_no_key_arrives_once(front, path, key):
    with closing(front.client()) as client:
        front.dies = True
        client.request("POST", path, b"{}", key)
        answer = client.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert front.asked("POST") == [f"POST {path}"]


def test_a_call_whose_node_hangs_is_answered_that_its_outcome_is_unknown_and_its_key_may_be_repeated(front):
    front.hangs = True
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
