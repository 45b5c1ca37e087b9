"""Calls of other systems: one deadline for connecting, TLS, sending and reply; and the circuit breaker."""

import contextlib
import gzip
import itertools
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pycurl
import pytest
from prometheus_client import REGISTRY

from foundation.outbound import circuit_breaker, http_client
from foundation.outbound.circuit_breaker import CircuitBreaker, CircuitOpen
from foundation.outbound.http_client import NoResponse, NotConnected, Reply, ResponseTooLarge
from foundation.tests.outages import nowhere
from foundation.tests.racing import race, wait_until
from scripts.stack import ports

ALLOWED, SLACK = 0.5, 0.5
DRIP_SECONDS = 0.05
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

Talk = Callable[[socket.socket], object]


@contextmanager
def serving(talk, *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The `host:port` of a server that calls `talk` with each connection, in a thread."""

    def serve():
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=handle, args=(line,), daemon=True).start()

    def handle(line):
        with contextlib.suppress(OSError):
            secured = tls.wrap_socket(line, server_side=True) if tls else line
            with secured:
                talk(secured)

    with socket.create_server((ports.HOST, 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"localhost:{listener.getsockname()[1]}" if tls else f"{ports.HOST}:{listener.getsockname()[1]}"


def dripping(data: bytes, *, after=b"") -> Talk:
    """Send one byte at a time, which takes longer than allowed; what comes before them at once."""

    def drip(line):
        line.sendall(after)
        for byte in data:
            line.sendall(bytes([byte]))
            threading.Event().wait(DRIP_SECONDS)

    return drip


def saying(reply: bytes) -> Talk:
    """Read a request, and send this."""
    return lambda line: (line.recv(65536), line.sendall(reply))


def exchange(url: str, *, body: bytes | None = None, method="POST") -> Reply:
    return http_client.send_request(method, url, headers={}, body=body, seconds=ALLOWED)


def seconds_of_silence(url: str, *, body: bytes | None = None, said: str | None = None) -> float:
    began_at = time.monotonic()
    with pytest.raises(NoResponse, match=said):
        exchange(url, body=body)
    return time.monotonic() - began_at


@pytest.mark.parametrize(
    ("at_once", "drips"),
    [
        (b"", b"HTTP/1.1 200 OK and so on" + b" and on" * 20),
        (b"HTTP/1.1 200 OK\r\n", b"X-Long: " + b"x" * 100 + b"\r\n\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"x" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n", b"x" * 100),
    ],
    ids=["status", "header", "continue", "body", "chunks"],
)
def test_a_dripping_reply_is_given_up_at_the_deadline_wherever_it_drips(at_once, drips):
    said = "no whole reply in time" if b"\r\n\r\n" in at_once else "no reply in time"
    with serving(dripping(drips, after=at_once)) as address:
        assert seconds_of_silence(f"http://{address}/", said=said) < ALLOWED + SLACK


def test_a_dripping_handshake_is_given_up_at_the_deadline():
    with serving(dripping(b"\x16\x03\x03\x40\x00" + b"\x02" * 100)) as address:
        assert seconds_of_silence(f"https://{address}/") < ALLOWED + SLACK


MALFORMED = {
    "nothing at all": b"",
    "no HTTP": b"220 smtp.example.com ESMTP\r\n",
    "a status line that is cut": b"HTTP/1.1 20",
    "headers that are cut after the status": b"HTTP/1.1 200 OK\r\n",
    "headers that are cut after an interim reply": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    "headers that are cut within a line": b"HTTP/1.1 200 OK\r\nContent-Len",
    "headers that are cut before the empty line": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "headers that are cut though none has a body": b"HTTP/1.1 204 No Content\r\nConnection: close\r\n",
    "less than it promised": ANSWER[:-1],
    "chunks without the last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    "a chunk without a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nhi",
}


def test_a_reply_that_is_cut_or_no_http_is_no_response():
    believed = {}
    for kind, reply in MALFORMED.items():
        with serving(saying(reply)) as address:
            try:
                believed[kind] = exchange(f"http://{address}/")
            except NoResponse as refused:
                assert not isinstance(refused, NotConnected), kind
    assert believed == {}


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\nServer: old\n\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
    ],
)
def test_a_whole_reply_without_a_body_is_one_however_it_ends(reply):
    with serving(saying(reply)) as address:
        assert exchange(f"http://{address}/").body == b""


def test_an_endless_reply_is_given_up(monkeypatch):
    monkeypatch.setattr(http_client, "LARGEST_RESPONSE_BYTES", 2**18)

    def pour(line):
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            line.sendall(b" " * 2**16)

    with serving(pour) as address, pytest.raises(ResponseTooLarge):
        http_client.send_request("GET", f"http://{address}/", headers={}, body=None, seconds=20)


def test_a_body_is_never_unpacked():
    packed = gzip.compress(b"hi")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with serving(saying(head + packed)) as address:
        assert exchange(f"http://{address}/").body == packed


def test_a_server_that_does_not_read_is_given_up_at_the_deadline():
    the_test_is_over = threading.Event()
    with serving(lambda line: the_test_is_over.wait(20)) as address:
        assert seconds_of_silence(f"http://{address}/", body=bytes(64 * 2**20)) < ALLOWED + SLACK
        the_test_is_over.set()


def test_a_host_that_accepts_no_connection_is_given_up_at_the_deadline():
    """Linux does not answer a connection if the listener's backlog is full."""
    with socket.create_server((ports.HOST, 0), backlog=0) as full, contextlib.ExitStack() as waiting:
        for _ in range(4):
            line = waiting.enter_context(socket.socket())
            line.setblocking(False)
            line.connect_ex(full.getsockname())
        began_at = time.monotonic()
        with pytest.raises(NotConnected):
            exchange(f"http://{ports.HOST}:{full.getsockname()[1]}/")
        assert ALLOWED / 2 < time.monotonic() - began_at < ALLOWED + SLACK


def test_a_connection_outlives_the_thread_that_opened_it_and_each_exchange_on_it_has_its_own_deadline():
    """The second exchange starts after the deadline of the first."""
    lines = []
    with serving(answering(lines)) as address:
        for _ in range(3):
            thread = threading.Thread(target=exchange, args=(f"http://{address}/",))
            thread.start()
            thread.join()
        for _ in range(2):
            assert exchange(f"http://{address}/").body == b"hi"
            threading.Event().wait(ALLOWED + 0.1)
        assert exchange(f"http://{address}/").body == b"hi"
    assert len(lines) == 1


def answering(lines: list[socket.socket], *, closed: Callable[[], object] = lambda: None) -> Talk:
    """Answer each request, and note the connections; `closed` is called at the end of each."""

    def answer_each(line):
        lines.append(line)
        while line.recv(65536):
            line.sendall(ANSWER)
        closed()

    return answer_each


def test_calls_at_the_same_time_have_a_connection_each_and_get_their_own_answers():
    """Threads take turns with few connections, and none gets what another one has asked for."""
    at_once, lines = 4, list[socket.socket]()

    def echo(line):
        lines.append(line)
        while request := line.recv(65536):
            body = request.partition(b"\r\n\r\n")[2]
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def ask(number):
        body = b"number %d" % number
        return http_client.send_request("POST", url, headers={}, body=body, seconds=20).body == body

    with serving(echo) as address, ThreadPoolExecutor(at_once) as pool:
        url = f"http://{address}/"
        assert all(pool.map(ask, range(400)))
    assert 1 <= len(lines) <= at_once


def test_a_connection_that_has_rested_for_long_is_closed_with_the_next_call(monkeypatch):
    monkeypatch.setattr(http_client, "IDLE_SECONDS", 0.1)
    closed = threading.Event()
    with serving(answering([], closed=closed.set)) as rested, serving(answering([])) as other:
        exchange(f"http://{rested}/")
        threading.Event().wait(0.2)
        assert not closed.is_set()
        exchange(f"http://{other}/")
        assert closed.wait(10)


def test_no_more_connections_are_kept_than_so_many_however_many_hosts_there_are(monkeypatch):
    monkeypatch.setattr(http_client, "MOST_IDLE", 3)
    with contextlib.ExitStack() as servers:
        closed = threading.Semaphore(0)
        for _ in range(8):
            address = servers.enter_context(serving(answering([], closed=closed.release)))
            exchange(f"http://{address}/")
        for _ in range(5):
            assert closed.acquire(timeout=5)
        assert not closed.acquire(timeout=0.2)


def test_a_request_on_a_kept_connection_that_breaks_is_not_sent_again():
    """libcurl by itself would send it again on a new connection, after it may have had its effect."""
    requests = []

    def answer_once_and_break(line):
        requests.append(line.recv(65536))
        line.sendall(ANSWER)
        requests.append(line.recv(65536))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for method in ("POST", "GET"):
        requests.clear()
        with serving(answer_once_and_break) as address:
            assert exchange(f"http://{address}/", method=method).body == b"hi"
            with pytest.raises(NoResponse) as refused:
                exchange(f"http://{address}/", method=method)
            assert not isinstance(refused.value, NotConnected)
            assert len([one for one in requests if one]) == 2
            assert exchange(f"http://{address}/", method=method).body == b"hi"


def test_each_connection_looks_its_host_up(monkeypatch):
    """libcurl by itself would use an address for a minute after the host has moved to another."""
    options = {}

    class RecordingCurl(pycurl.Curl):
        def setopt(self, option, value):
            options[option] = value
            super().setopt(option, value)

    monkeypatch.setattr(pycurl, "Curl", RecordingCurl)
    with serving(lambda line: line.sendall(ANSWER)) as address:
        assert exchange(f"http://{address}/").body == b"hi"
    assert options[pycurl.DNS_CACHE_TIMEOUT] == 0


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced():
    closed = threading.Semaphore(0)

    def answer_and_close(line):
        line.recv(65536)
        line.sendall(ANSWER)
        line.shutdown(socket.SHUT_RDWR)
        line.close()
        closed.release()

    with serving(answer_and_close) as address:
        for _ in range(20):
            assert exchange(f"http://{address}/").body == b"hi"
            assert closed.acquire(timeout=10)


@pytest.mark.parametrize("pause_seconds", [0, 0.05])
def test_what_comes_after_a_reply_is_not_taken_for_the_next_one(pause_seconds):
    numbers, has_written = itertools.count(), threading.Semaphore(0)

    def write_too_much(line):
        line.recv(65536)
        line.sendall(ANSWER.replace(b"hi", b"%d%d" % ((next(numbers),) * 2)))
        threading.Event().wait(pause_seconds)
        line.sendall(ANSWER)
        has_written.release()
        line.recv(65536)

    with serving(write_too_much) as address:
        for expected in (b"00", b"11", b"22"):
            assert exchange(f"http://{address}/").body == expected
            assert has_written.acquire(timeout=10)


def test_redirects_are_not_followed_and_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere())

    redirect = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with serving(saying(redirect)) as address:
        reply = exchange(f"http://{address}/")
    assert (reply.status, reply.headers["location"], reply.body) == (302, "/elsewhere", b"")


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json", "Idempotency-Key": "k"}, {}])
def test_what_is_sent_is_what_was_asked_for_and_no_more(headers):
    sent = []

    def note(line):
        sent.append(line.recv(65536))
        line.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ANSWER)

    with serving(note) as address:
        url = f"http://{address}/a?b=c"
        reply = http_client.send_request("POST", url, headers=headers, body=b"{}", seconds=ALLOWED)
    assert (reply.status, dict(reply.headers), reply.body) == (200, {"Content-Length": "2"}, b"hi")
    [request, *lines], body = sent[0].decode().split("\r\n")[:-2], sent[0].partition(b"\r\n\r\n")[2]
    assert (request, body) == ("POST /a?b=c HTTP/1.1", b"{}")
    own = {"Host": address, "Accept-Encoding": "identity", "Content-Length": "2"}
    assert dict(line.split(": ", 1) for line in lines) == own | headers


@pytest.mark.parametrize("url", ["file:///etc/hostname", "gopher://127.0.0.1/_", "dict://127.0.0.1/"])
def test_other_schemes_than_http_are_refused(url):
    with pytest.raises(NotConnected):
        exchange(url)


def test_a_line_break_in_a_header_is_refused():
    with pytest.raises(ValueError, match="line break"):
        http_client.send_request("GET", "http://localhost/", headers={"A": "b\r\nC: d"}, body=None, seconds=1)


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """The server side of TLS, with a certificate that this test trusts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    http_client._trusted_certificates.cache_clear()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    yield context
    http_client._trusted_certificates.cache_clear()


@pytest.mark.boots("Node.js", in_first_circle=True)
def test_calls_over_tls_share_a_connection_and_a_dripping_reply_or_untrusted_certificate_is_given_up(tls):
    lines = []

    def answer_twice_and_drip(line):
        lines.append(line)
        for _ in range(2):
            assert line.recv(65536)
            line.sendall(ANSWER)
        dripping(ANSWER * 10)(line)

    with serving(answer_twice_and_drip, tls=tls) as address:
        assert [exchange(f"https://{address}/").body for _ in range(2)] == [b"hi", b"hi"]
        assert seconds_of_silence(f"https://{address}/") < ALLOWED + SLACK
    assert len(lines) == 1
    with serving(lambda line: line.recv(65536), tls=tls) as address, pytest.raises(NotConnected):
        exchange(f"https://{address.replace('localhost', ports.HOST)}/")


# The circuit breaker: it opens after failures, lets one probe through at a time, and closes again


def test_after_a_failure_calls_are_refused_and_then_one_probes():
    breaker = CircuitBreaker("test", seconds=0.2)
    breaker.record_failure()
    assert not any(race([breaker.allows_call] * 8))
    wait_until(breaker.allows_call)
    assert not any(race([breaker.allows_call] * 8))


def test_a_probe_that_never_reports_its_result_is_replaced(monkeypatch):
    monkeypatch.setattr(circuit_breaker, "LONGEST_PROBE_SECONDS", 0.1)
    breaker = CircuitBreaker("test", seconds=0.05)
    breaker.record_failure()
    wait_until(breaker.allows_call, seconds=1)
    wait_until(breaker.allows_call, seconds=1)


def test_of_many_concurrent_calls_one_probes():
    breaker = CircuitBreaker("test", seconds=60)
    breaker.record_failure()
    breaker._open_until = 0.0
    assert race([breaker.allows_call] * 16).count(True) == 1


def test_a_late_success_while_a_probe_is_admitted_leaves_no_circuit_open_for_good(monkeypatch):
    breaker = CircuitBreaker("test", failures=2, seconds=60)
    breaker.record_failure()
    breaker.record_failure()
    breaker._open_until = 0.0
    late = threading.Thread(target=breaker.record_success)

    def monotonic():
        # The second time is read between the check of the state and its change.
        if next(readings) == 2:
            late.start()
            late.join(0.2)
        return time.monotonic()

    readings = itertools.count(1)
    monkeypatch.setattr(circuit_breaker, "time", SimpleNamespace(monotonic=monotonic))
    with pytest.raises(Failure), breaker.guard(Failure):
        late.join()
        raise Failure
    assert breaker.allows_call()


class Failure(Exception):
    """What counts as a failure in these tests."""


def fail(breaker: CircuitBreaker):
    with pytest.raises(Failure), breaker.guard(Failure):
        raise Failure("no answer")


def test_concurrent_failures_are_all_counted():
    breaker = CircuitBreaker("test", failures=16, seconds=60)
    race([lambda: fail(breaker)] * 15)
    assert not breaker.is_open
    fail(breaker)
    assert breaker.is_open
    with pytest.raises(CircuitOpen), breaker.guard(Failure):
        pytest.fail("a call was made")
    # Other exceptions show that the system is available.
    breaker = CircuitBreaker("test", failures=2, seconds=60)
    for _ in range(3):
        fail(breaker)
        with pytest.raises(KeyError), breaker.guard(Failure):
            raise KeyError
    assert not breaker.is_open


def test_calls_that_fail_while_others_are_answered_open_no_circuit():
    """Slow cards: ten that time out together would have stopped everybody's payments."""
    breaker = CircuitBreaker("test", failures=2, seconds=60)
    with pytest.raises(Failure), breaker.guard(Failure), breaker.guard(Failure):
        with breaker.guard(Failure):
            pass
        raise Failure
    assert not breaker.is_open
    fail(breaker)
    fail(breaker)
    assert breaker.is_open


def test_a_guarded_probe_is_never_replaced_and_its_failure_opens_the_circuit_again(monkeypatch):
    monkeypatch.setattr(circuit_breaker, "LONGEST_PROBE_SECONDS", 0.1)
    breaker = CircuitBreaker("test", failures=2, seconds=0.1)
    fail(breaker)
    fail(breaker)
    wait_until(lambda: not breaker.is_open)
    with pytest.raises(Failure), breaker.guard(Failure):
        threading.Event().wait(0.3)
        with pytest.raises(CircuitOpen), breaker.guard(Failure):
            pytest.fail("two probes at once")
        raise Failure
    assert breaker.is_open
    wait_until(lambda: not breaker.is_open)
    with breaker.guard(Failure):
        pass
    assert breaker.allows_call() and breaker.allows_call()


def test_it_is_shown_as_open_from_the_failures_in_a_row_until_a_success():
    breaker = CircuitBreaker("shown", failures=2, seconds=0.01)
    shown = []
    for step in (
        *(lambda: None, breaker.record_failure, breaker.record_failure),
        *(lambda: wait_until(breaker.allows_call), breaker.record_success),
    ):
        step()
        shown.append(REGISTRY.get_sample_value("firstcome_circuit_open", {"circuit": "shown"}))
    assert shown == [0, 0, 1, 1, 0]
