"""The proxy before the web server, by ops/proxy/haproxy.cfg: what a client may do slowly, or too often."""

import os
import re
import select
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import urllib3

from foundation.tests.live import web
from foundation.tests.racing import wait_until
from scripts.stack import children, places, ports, system_packages
from shop import web_server
from shop.tests.test_web_server import GET, SMALL, connect, exchange, problem_on, stalled_reader, status_on

pytestmark = [pytest.mark.boots("HAProxy and a web server"), pytest.mark.django_db(transaction=True)]
PROXY = places.PROJECT / "ops" / "proxy"
SETTINGS = (PROXY / "haproxy.cfg").read_text()
HEAD_SECONDS = 10


@contextmanager
def proxied(folder: Path, *, settings: str = SETTINGS, host: str = ports.HOST, most=256) -> Iterator[str]:
    """The address of the proxy before a web server with the small application."""
    port, file = ports.free(), folder / "haproxy.cfg"
    for answer in PROXY.glob("*.http"):
        shutil.copy(answer, folder)
    file.write_text(settings)
    with web(folder, workers=1, application=SMALL) as address:
        named = {
            "PROXY_ADDRESS": f"{host}:{port}",
            "WEB_ADDRESS": address.removeprefix("http://"),
            "CONNECTIONS_PER_ADDRESS": str(most),
        }
        command, log = [system_packages.program("haproxy"), "-db", "-f", str(file)], folder / "haproxy.log"
        own = os.environ | named
        with children.running(command, name="haproxy", log=log, is_ready=(host, port), environment=own):
            yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def proxy(django_db_setup, tmp_path_factory):
    quick = SETTINGS.replace("timeout client 30s", "timeout client 3s")
    assert quick != SETTINGS
    with proxied(tmp_path_factory.mktemp("proxy"), settings=quick) as address:
        yield address


def test_a_head_has_ten_seconds_from_its_first_byte_however_it_trickles(proxy):
    with connect(proxy) as first, connect(proxy) as second, connect(proxy) as silent:
        first.sendall(b"GET / HTTP/1.1\r\nA: ")
        second.sendall(GET)
        assert status_on(second) == 200
        second.sendall(b"GET / HTTP/1.1\r\nA: ")
        began_at, received = time.monotonic(), b""
        first.settimeout(0.5)
        while not received and time.monotonic() - began_at < 25:
            first.sendall(b"x")
            try:
                received = first.recv(2**16)
            except TimeoutError:
                continue
        assert HEAD_SECONDS - 1 < time.monotonic() - began_at < HEAD_SECONDS + 3
        # Of a head HAProxy says so in its own words.
        assert received.startswith(b"HTTP/1.1 408 ")
        assert second.recv(100).startswith(b"HTTP/1.1 408 ")
        assert silent.recv(100)[:12] in (b"", b"HTTP/1.1 408")


def test_a_body_that_trickles_reaches_no_worker(proxy):
    with connect(proxy) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        while not select.select([connection], [], [], 0.5)[0]:
            connection.sendall(b"x")
        assert problem_on(connection) == (408, "request_timeout")


def test_a_client_that_reads_nothing_is_disconnected(proxy):
    with stalled_reader(proxy) as connection:
        connection.sendall(b"GET /large/30000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(6)
        received = 0
        while part := connection.recv(2**20):
            received += len(part)
        # What the systems' own buffers had.
        assert received < 10_000_000


def test_requests_pipelined_without_end_are_answered_in_order(proxy):
    with connect(proxy) as connection:
        connection.sendall(GET * 500)
        assert [status_on(connection) for _ in range(500)] == [200] * 500


@pytest.mark.parametrize("head", [b"A: " + b"x" * 20_000, b"a: b\r\n" * 200, b"Host: b"])
def test_a_head_that_is_too_large_or_names_two_hosts_is_refused(proxy, head):
    with connect(proxy) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 400 ")


def test_requests_of_one_address_behind_another_proxy_are_bounded(tmp_path):
    def status(address):
        headers = {"X-Forwarded-For": f"198.51.100.1, {address}"}
        return urllib3.request("GET", f"{proxy}/wait/1", headers=headers, retries=False).status

    with proxied(tmp_path, most=3) as proxy, ThreadPoolExecutor(10) as threads:
        assert sorted(threads.map(status, ["192.0.2.1"] * 5)) == [200, 200, 200, 429, 429]
        assert set(threads.map(status, ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"])) == {200}
        networks = [f"2001:db8::{number}" for number in range(5)]
        assert sorted(threads.map(status, networks)) == [200, 200, 200, 429, 429]


def test_connections_of_one_address_are_bounded(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has only the loopback address")
        own = str(probe.getsockname()[0])
    # A machine's own address is one of a private network, as another proxy's would be.
    public = re.sub(r"(acl of_proxy src 127\.0\.0\.0/8) .*", r"\1", SETTINGS)
    with proxied(tmp_path, settings=public, host=own, most=3) as proxy, ExitStack() as closing:
        time.sleep(0.5)  # HAProxy forgets the connection by which it was found to listen
        kept = [closing.enter_context(connect(proxy)) for _ in range(3)]
        for connection in kept:
            connection.sendall(GET)
            assert status_on(connection) == 200
        with pytest.raises((ConnectionError, AssertionError)), connect(proxy) as refused:
            refused.sendall(GET)
            status_on(refused)
        kept.pop().close()
        wait_until(lambda: is_answered(proxy))


def is_answered(address: str) -> bool:
    try:
        return exchange(address, GET)[0] == 200
    except (ConnectionError, AssertionError):
        return False


def test_the_proxy_gives_up_an_idle_connection_before_the_web_server_does():
    seconds = {name: int(number) for name, number in re.findall(r"timeout (\S+) (\d+)s", SETTINGS)}
    assert seconds["http-keep-alive"] < web_server.keepalive
    assert seconds["http-request"] == HEAD_SECONDS


@pytest.mark.parametrize("path", ["/metrics", "/m%65trics", "/%6D%65%74%72%69%63s"])
def test_metrics_are_not_passed_on_however_their_path_is_written(proxy, path):
    assert exchange(proxy, GET.replace(b"/x", path.encode()))[0] == 404
    assert exchange(proxy, GET.replace(b"/x", path.encode() + b"x"))[0] == 200


def test_each_of_ten_thousand_buyers_may_have_a_connection():
    for file in ("proxy/haproxy.cfg", "cluster/haproxy-front.cfg"):
        settings = (PROXY.parent / file).read_text().partition("defaults")[0]
        [most_files] = re.findall(r"^  fd-hard-limit (\d+)$", settings, re.MULTILINE)
        assert int(most_files) > 2 * 10_000
        assert "maxconn" not in settings
    assert web_server.backlog > 10_000
