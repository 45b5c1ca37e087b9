"""How the web server starts, stops, and supervises its workers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import urllib3

from scripts.stack import places
from shop.tests.live import Served, serving
from shop.tests.racing import wait_until
from shop.tests.test_protocol import GET, SMALL, answer_on, connect, exchange

# The start of an HTTP/2 connection by prior knowledge: the preface, and an empty SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"

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


def test_a_client_of_http_2_whose_bodies_nothing_could_end_is_not_served(tmp_path: Path) -> None:
    with small(tmp_path, workers=1) as server:
        where = urlsplit(server.address)
        with socket.create_connection((str(where.hostname), where.port or 0), timeout=10) as connection:
            connection.sendall(PREFACE)
            assert connection.recv(1024).startswith(b"HTTP/1.1 400 ")


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


def test_a_hang_up_replaces_all_workers_without_a_failed_request(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        before, stop, seen = workers_of(server.child.pid), threading.Event(), set[int]()

        def call_repeatedly() -> None:
            pool = urllib3.PoolManager(maxsize=1)
            while not stop.is_set():
                answer = pool.request("GET", f"{server.address}/wait/0.01", retries=False)
                assert answer.status == 200
                seen.add(int(answer.data))

        with ThreadPoolExecutor(8) as threads:
            clients = [threads.submit(call_repeatedly) for _ in range(8)]
            try:
                server.child.send_signal(signal.SIGHUP)
                wait_until(
                    lambda: len(now := workers_of(server.child.pid)) == 2 and not now & before, seconds=90
                )
                wait_until(lambda: seen >= before | workers_of(server.child.pid))
            finally:
                stop.set()
            for client in clients:
                client.result()


def test_a_worker_that_dies_during_a_hang_up_does_not_end_the_replacement(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        before = workers_of(server.child.pid)
        server.child.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers_of(server.child.pid)) == 3, seconds=20)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(now := workers_of(server.child.pid)) == 2 and not now & before, seconds=90)


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
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


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "shop.web_server", *words],
        cwd=places.PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_port_that_is_taken_is_named_in_one_line(tmp_path: Path) -> None:
    with small(tmp_path, workers=1) as server:
        port = str(urlsplit(server.address).port)
        ended = run("--port", port)
        assert ended.returncode == 1
        [line] = ended.stderr.splitlines()
        assert f":{port}" in line and "in use" in line


@pytest.mark.parametrize("opening", ["at once", "one by one"])
def test_connections_are_spread_over_the_workers(tmp_path: Path, opening: str) -> None:
    with small(tmp_path) as server:
        if opening == "at once":
            connections = on_threads(lambda: connect(server.address), times=100)
        else:
            connections = [connect(server.address) for _ in range(100)]
        for connection in connections:
            connection.sendall(GET)
        shares = Counter(int(answer_on(connection).body) for connection in connections)
        for connection in connections:
            connection.close()
    # A worker that gets no processor time leaves its share to the other. Without our acceptor, 100 to 0 is
    # common.
    assert len(shares) == 2 and min(shares.values()) >= 10


def test_each_worker_publishes_its_connections_in_a_slot_of_its_own(tmp_path: Path) -> None:
    with small(tmp_path, workers=3) as server:
        slots = [slot_of(pid) for pid in workers_of(server.child.pid)]
        assert sorted(slots) == [0, 1, 2]


def slot_of(worker: int) -> int:
    words = Path(f"/proc/{worker}/cmdline").read_text().split("\0")
    return int(words[words.index("--places") + 1].rpartition(",")[2])


def on_threads(function: Callable[[], socket.socket], *, times: int) -> list[socket.socket]:
    with ThreadPoolExecutor(times) as threads:
        return [future.result() for future in [threads.submit(function) for _ in range(times)]]
