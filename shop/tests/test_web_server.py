"""How the web server starts, stops, and replaces its workers."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import urllib3

from scripts.stack import places, ports
from shop.tests.live import Served, serving
from shop.tests.racing import wait_until
from shop.tests.test_protocol import GET, SMALL, answer_on, connect, exchange

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.boots("a web server")]


def workers_of(pid: int) -> set[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return {int(word) for word in found.stdout.split()}


@contextmanager
def small(folder: Path, *, workers: int = 2) -> Iterator[Served]:
    with serving(folder, workers=workers, application=SMALL) as server:
        wait_until(lambda: len(answering(server.address)) == workers, seconds=40)
        yield server


def answering(address: str, times: int = 30) -> Counter[int]:
    return Counter(int(exchange(address, GET)[1]) for _ in range(times))


def is_refused(address: str) -> bool:
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_answers_waiting_requests_and_accepts_no_new_ones(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        waiting = [connect(server.address) for _ in range(20)]
        idle = connect(server.address)
        for connection in waiting:
            connection.sendall(b"GET /wait/2 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        server.child.terminate()
        wait_until(lambda: is_refused(server.address), seconds=5)
        answers = [answer_on(connection) for connection in waiting]
        assert {(answer.status, answer.headers["Connection"]) for answer in answers} == {(200, "close")}
        assert idle.recv(1) == b""
        assert server.child.wait(timeout=10) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_that_still_wait_when_the_stop_time_is_over_get_503(tmp_path: Path, workers: int) -> None:
    with small(tmp_path, workers=workers) as server, connect(server.address) as waiting:
        waiting.sendall(b"GET /wait/60 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        began_at = time.monotonic()
        server.child.terminate()
        answer = answer_on(waiting)
        # Not `overloaded`, which says that nothing was done.
        assert (answer.status, orjson.loads(answer.body)["code"]) == (503, "unavailable")
        assert server.child.wait(timeout=10) == 0
        assert 2.5 < time.monotonic() - began_at < 8


def test_a_killed_worker_is_replaced_and_no_client_is_refused_meanwhile(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        before = workers_of(server.child.pid)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        answered = answering(server.address, times=100)
        assert killed not in answered
        wait_until(lambda: len(workers_of(server.child.pid) - {killed}) == 2, seconds=5)
        [new] = workers_of(server.child.pid) - before
        wait_until(lambda: answering(server.address)[new] > 0, seconds=40)


def test_a_worker_that_dies_during_a_hang_up_does_not_end_the_replacement(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        before = workers_of(server.child.pid)
        server.child.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers_of(server.child.pid)) > 2, seconds=20)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(now := workers_of(server.child.pid)) == 2 and not now & before, seconds=90)


def test_workers_end_when_their_manager_is_killed(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        workers = workers_of(server.child.pid)
        with connect(server.address) as waiting:
            waiting.sendall(b"GET /wait/2 HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(0.3)
            server.child.kill()
            wait_until(lambda: is_refused(server.address), seconds=5)
            assert answer_on(waiting).status == 200
        wait_until(lambda: not any(is_alive(pid) for pid in workers), seconds=10)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with small(tmp_path, workers=1) as server:
        port = str(urlsplit(server.address).port)
        command = [sys.executable, "-m", "gunicorn", "--config", "python:shop.web_server", SMALL]
        command += ["--bind", f"{ports.HOST}:{port}"]
        ended = subprocess.run(command, cwd=places.PROJECT, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1
        assert port in ended.stderr and "in use" in ended.stderr


def test_connections_reach_all_workers(tmp_path: Path) -> None:
    with small(tmp_path) as server, ExitStack() as closing:
        connections = [closing.enter_context(connect(server.address)) for _ in range(200)]
        for connection in connections:
            connection.sendall(GET)
        # One has up to three quarters of them: the system gives each to whichever waits.
        assert len({answer_on(connection).body for connection in connections}) == 2


@pytest.mark.parametrize("traced", ["", "http://127.0.0.1:9/"])
def test_the_manager_that_forks_has_one_thread_and_no_connection(tmp_path: Path, traced: str) -> None:
    """A worker would have another's: a lock that no thread releases, a connection that two processes use."""
    with serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=traced) as server:
        manager = Path(f"/proc/{server.child.pid}")
        assert urllib3.request("GET", f"{server.address}/api/v1/products", retries=False).status == 200
        assert len(list((manager / "task").iterdir())) == 1
        [(soft, hard)] = re.findall(r"Max open files +(\d+) +(\d+)", (manager / "limits").read_text())
        assert soft == hard, "each connection is an open file"
        descriptors = [str(path.readlink()) for path in (manager / "fd").iterdir()]
        assert sum(one.startswith("socket:") for one in descriptors) == 1, "the one that listens"


@pytest.mark.parametrize("is_make_run", [True, False])
def test_the_workers_of_make_run_have_a_processor_each(tmp_path: Path, is_make_run: bool) -> None:
    own = {"FIRSTCOME_VAR": str(tmp_path) if is_make_run else "", "WEB_WORKERS": "2"}
    here = sorted(os.sched_getaffinity(0))
    with serving(tmp_path, workers=2, application=SMALL, **own) as server:
        wait_until(lambda: len(answering(server.address)) == 2, seconds=40)
        processors = sorted(sorted(os.sched_getaffinity(pid)) for pid in workers_of(server.child.pid))
        assert processors == (
            sorted([here[slot % len(here)]] for slot in range(2)) if is_make_run else [here] * 2
        )


def test_nothing_of_uvicorn_is_used_that_may_change_without_notice() -> None:
    for path in Path(places.PROJECT).glob("shop/**/*.py"):
        text = path.read_text()
        assert path == Path(__file__) or not re.search(
            r"uvicorn\._|uvicorn\.protocols|HttpToolsProtocol", text
        ), path
