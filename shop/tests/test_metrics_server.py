"""Worker, issuer and beat expose their metrics; several processes are summed right, also after one died."""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import urllib3

from scripts.stack import children, ports
from shop.tests.live import serving
from shop.tests.outages import OwnRedis
from shop.tests.racing import wait_until
from shop.tests.second_connection import another_connection, ask
from shop.tests.second_process import environment
from shop.tests.waiting import in_background, waiting_at

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-long-token-for-metrics"
CELERY = (sys.executable, "-m", "celery", "-A", "shop")
WORKER = (*CELERY, "worker", "--pool", "threads", "--concurrency", "3")
WORKER += ("--without-gossip", "--without-mingle")
ISSUER = (sys.executable, "-m", "django", "run_issuer")


def beat_command(folder: Path) -> tuple[str, ...]:
    return (*CELERY, "beat", "--schedule", str(folder / "schedule"), "--pidfile=")


class Process:
    """A process of the shop with a port for its metrics."""

    def __init__(self, child: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.child, self.port, self.log = child, port, log
        self.address = f"http://{ports.HOST}:{port}"

    def get(self, path: str = "/metrics", method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, f"{self.address}{path}", headers=headers, retries=False, timeout=10)

    def answers(self) -> bool:
        try:
            self.get("/")
        except urllib3.exceptions.HTTPError:
            return False
        return True

    def value(self, sample: str) -> float | None:
        return value(self.get().data.decode(), sample)


def value(text: str, sample: str) -> float | None:
    """The value of a sample, which is a name with its labels."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def sum_of(text: str, name: str) -> float:
    return sum(map(float, re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)))


@contextmanager
def running(folder: Path, *command: str, port: int = 0, **settings: str) -> Iterator[Process]:
    """A process as in production, once it serves its metrics. `settings` are environment variables."""
    port = port or ports.free()
    own = environment(METRICS_PORT=str(port), DJANGO_SETTINGS_MODULE="shop.settings", **settings)
    log = folder / "process.log"
    child = children.start(command, log=log, environment=own)
    process = Process(child, port, log)
    try:
        children.wait_until(process.answers, name="process", child=child, log=log, within_seconds=60)
        yield process
    finally:
        children.stop(child)


@pytest.mark.boots("a worker")
def test_a_worker_exposes_itself_and_no_state_and_again_after_it_was_killed(tmp_path: Path) -> None:
    port = ports.free()
    with running(tmp_path, *WORKER, port=port) as worker:
        text = worker.get().data.decode()
        assert value(text, 'firstcome_pool_threads{pool="tasks"}') == 3
        assert value(text, "firstcome_processes") == 1
        assert (value(text, "firstcome_processor_seconds_total") or 0) > 0
        assert (value(text, "firstcome_resident_bytes") or 0) > 2**20
        assert value(text, "firstcome_clock_offset_seconds") is not None
        assert sum_of(text, "firstcome_gc_pause_seconds_count") > 0
        assert "firstcome_events_queued" not in text
        worker.child.kill()
        worker.child.wait()
        with running(tmp_path, *WORKER, port=port) as another:
            assert another.value("firstcome_processes") == 1


@pytest.mark.boots("a Python process")
def test_access_to_a_port_of_metrics_is_as_to_the_web_server(tmp_path: Path) -> None:
    """`TRUSTED_PROXIES` makes requests from this machine such as come through a proxy."""
    with running(tmp_path, *ISSUER, METRICS_TOKEN=TOKEN, TRUSTED_PROXIES="1") as issuer:
        assert issuer.get().status == 401
        assert issuer.get(Authorization="Bearer wrong").status == 401
        granted = issuer.get(Authorization=f"Bearer {TOKEN}", Host="172.18.0.9:9101")
        assert (granted.status, granted.headers["Content-Type"][:10]) == (200, "text/plain")
        head = issuer.get(method="HEAD", Authorization=f"Bearer {TOKEN}")
        assert (head.status, head.data) == (200, b"")
        assert int(head.headers["Content-Length"]) > 1000
        assert issuer.get(method="POST", Authorization=f"Bearer {TOKEN}").status == 405
        assert issuer.get("/admin/", Authorization=f"Bearer {TOKEN}").status == 404


@pytest.mark.boots("a Python process")
@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_other_addresses_reach_the_metrics_only_where_a_setting_says_so(tmp_path: Path, host: str) -> None:
    """127.0.0.2 is an address of this machine too, and not the one that it listens on by itself."""
    own = {"METRICS_TOKEN": TOKEN} | ({"METRICS_HOST": host} if host else {})
    expected: Any = nullcontext() if host else pytest.raises(ConnectionRefusedError)
    with running(tmp_path, *ISSUER, **own) as issuer, expected:
        socket.create_connection(("127.0.0.2", issuer.port), timeout=5).close()


@pytest.mark.boots("a Python process")
def test_without_a_token_requests_must_come_from_this_machine_and_name_it(tmp_path: Path) -> None:
    with running(tmp_path, *ISSUER) as issuer:
        assert issuer.get().status == 200
        assert issuer.get(Host="attacker.example").status == 403
        assert issuer.get(**{"X-Forwarded-For": "192.0.2.1"}).status == 403
        wait_until(lambda: (issuer.value("firstcome_issuer_last_pass_seconds") or 60) < 5, seconds=20)


@pytest.mark.boots("a Python process")
def test_slow_clients_of_the_port_hold_up_no_scrape_and_log_nothing(tmp_path: Path) -> None:
    with running(tmp_path, *ISSUER) as issuer:
        clients = [socket.create_connection((ports.HOST, issuer.port)) for _ in range(60)]
        for client in clients:
            client.send(b"G")  # a head that never ends
        assert issuer.answers()
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert issuer.get().status == 200
        assert "Traceback" not in issuer.log.read_text()
        assert "Exception occurred" not in issuer.log.read_text()


@pytest.mark.boots("a Python process")
def test_a_port_that_is_taken_does_not_stop_the_process(tmp_path: Path) -> None:
    with running(tmp_path, *ISSUER) as first:
        folder = tmp_path / "second"
        folder.mkdir()
        alive = folder / "alive"
        with running(folder, *ISSUER, "--alive", str(alive), port=first.port) as second:
            wait_until(alive.exists, seconds=30)
            assert "metrics are not served" in second.log.read_text()
            assert second.child.poll() is None


def test_web_tells_how_long_a_dead_beat_has_been_silent(own_redis: OwnRedis, tmp_path: Path) -> None:
    redis = {"REDIS_URL": own_redis.url, "BROKER_URL": own_redis.url}
    with serving(tmp_path, workers=1, **redis) as web:

        def silent_seconds() -> float | None:
            text = urllib3.request("GET", f"{web.address}/metrics", retries=False).data.decode()
            return value(text, "firstcome_beat_last_tick_seconds")

        assert silent_seconds() is None
        folder = tmp_path / "beat"
        folder.mkdir()
        with running(folder, *beat_command(folder), **redis) as beat:
            wait_until(lambda: (beat.value("firstcome_beat_last_tick_seconds") or 60) < 3, seconds=30)
            assert beat.value("firstcome_events_queued") == 0
            assert beat.value("firstcome_broker_up") == 1
            queue = 'firstcome_broker_queue_messages{queue="celery"}'
            wait_until(lambda: (beat.value(queue) or 0) > 0, seconds=20)
            beat.child.kill()
            beat.child.wait()
        wait_until(lambda: (silent_seconds() or 0) > 5, seconds=30)


@pytest.mark.boots("a web server")
def test_two_web_processes_are_summed_and_a_dead_one_leaves_its_counts(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (earlier := tmp_path / "metrics" / "counter_of-an-earlier-server.db").touch()
    settings = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    with serving(tmp_path, workers=2, **settings) as web:
        assert not earlier.exists()

        def exposed() -> str:
            return urllib3.request("GET", f"{web.address}/metrics", retries=False).data.decode()

        for _ in range(20):
            # On a new connection each, so that both processes get some.
            refused = urllib3.request("GET", f"{web.address}/api/v1/orders", retries=False)
            assert refused.status == 401
        wait_until(lambda: value(exposed(), "firstcome_processes") == 2)
        before = exposed()
        assert sum_of(before, "firstcome_http_refusals_total") == 20
        labels = 'code="not_authenticated",status="401",view="orders.api.Orders"'
        assert value(before, f"firstcome_http_refusals_total{{{labels}}}") == 20
        assert value(before, 'firstcome_pool_busy{pool="probes"}') is not None

        for _ in range(2):
            os.kill(worker_of(web.child), signal.SIGKILL)
            wait_until(lambda: len(list((tmp_path / "metrics").glob("gauge_livesum_[0-9]*.db"))) == 1)
            wait_until(lambda: value(exposed(), "firstcome_processes") == 2, seconds=30)
            assert sum_of(exposed(), "firstcome_http_refusals_total") == 20
        # Each worker has a slot, and so has its replacement: no number of restarts adds more files.
        slots = {path.stem.rpartition("_")[2] for path in (tmp_path / "metrics").iterdir()}
        assert slots <= {"manager", "0", "1", "2", "3"}


@pytest.mark.boots("a web server")
def test_metrics_are_read_by_address_with_the_token_alone(tmp_path: Path) -> None:
    """Prometheus calls containers by addresses that are in no setting."""
    with serving(tmp_path, workers=1, METRICS_TOKEN=TOKEN) as web:

        def status(path: str = "/metrics", **headers: str) -> int:
            headers |= {"Host": "172.18.0.7:8000"}
            return urllib3.request("GET", f"{web.address}{path}", headers=headers, retries=False).status

        assert status(Authorization=f"Bearer {TOKEN}") == 200
        assert status() == 400
        assert status("/readyz", Authorization=f"Bearer {TOKEN}") == 400


def worker_of(supervisor: "subprocess.Popen[bytes]") -> int:
    found = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    assert len(found) == 2
    return int(found[0])


@pytest.mark.boots("a web server")
def test_metrics_are_answered_while_all_threads_are_busy(tmp_path: Path) -> None:
    with serving(tmp_path, workers=1, WEB_THREADS="2") as web, another_connection() as other:
        ask(other, "LOCK TABLES inventory_product WRITE")
        calls = [in_background(lambda: get(f"{web.address}/api/v1/products")) for _ in range(8)]
        wait_until(lambda: waiting_at("%inventory_product%") > 0)
        answer = get(f"{web.address}/metrics")
        assert answer.status == 200
        assert sum_of(answer.data.decode(), "firstcome_pool_waiting") > 0
        assert not any(call.done() for call in calls)
        ask(other, "UNLOCK TABLES")
        assert {call.result(timeout=30).status for call in calls} == {200}


def get(url: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", url, retries=False, timeout=20)
