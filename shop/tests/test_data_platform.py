"""Deliveries to the data platform, and which of its responses blame the events."""

import hashlib
import hmac
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.conf import LazySettings
from django.utils import timezone

from shop.events import data_platform
from shop.events.data_platform import DeliveryResult
from shop.outbound.circuit_breaker import CircuitBreaker

EVENT = {"id": "evt_1", "type": "test.happened", "occurred_at": timezone.now(), "data": {"order": None}}


class Receiver(BaseHTTPRequestHandler):
    """Answers every POST with one status and text, and keeps the requests."""

    protocol_version = "HTTP/1.1"
    status, text, pause_seconds = 202, b"{}", 0.0
    received: list[tuple[dict[str, str], bytes]]
    connections: set[tuple[str, int]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((dict(self.headers), body))
        self.connections.add(self.client_address)
        # Read once: the test sets the next one when the client has the reply, before the body of a 204.
        text = self.text
        threading.Event().wait(self.pause_seconds)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


class QuietServer(ThreadingHTTPServer):
    """A server that ignores clients which close the connection early."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing."""


@pytest.fixture
def receiver(settings: LazySettings) -> Iterator[type[Receiver]]:
    class Own(Receiver):
        received: list[tuple[dict[str, str], bytes]] = []
        connections: set[tuple[str, int]] = set()

    server = QuietServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.DATA_PLATFORM_URL = f"http://127.0.0.1:{server.server_port}"
    yield Own
    server.shutdown()
    server.server_close()


def results_by_status(receiver: type[Receiver], statuses: Iterable[int]) -> dict[int, DeliveryResult]:
    """The result of a delivery that is answered with each status."""
    results = {}
    for receiver.status in statuses:
        data_platform.reset()
        results[receiver.status] = data_platform.send([EVENT])
    return results


def test_any_2xx_status_is_a_success_and_one_that_blames_the_events_is_final(
    receiver: type[Receiver],
) -> None:
    receiver.text, statuses = b"", (200, 202, 204)
    assert results_by_status(receiver, statuses) == dict.fromkeys(statuses, DeliveryResult())
    receiver.text, statuses = b'{"code":"invalid"}', (400, 404, 409, 410, 413, 415, 422)
    assert results_by_status(receiver, statuses) == {
        status: DeliveryResult(f'HTTP {status} {{"code":"invalid"}}', is_final=True) for status in statuses
    }


def test_a_temporary_status_or_one_that_we_can_correct_is_not_final(receiver: type[Receiver]) -> None:
    statuses = (302, 401, 403, 408, 425, 429, 500, 502, 503, 504)
    assert results_by_status(receiver, statuses) == {
        status: DeliveryResult(f"HTTP {status} {{}}") for status in statuses
    }


def test_an_endless_response_is_cut_off_and_counts_as_none(receiver: type[Receiver]) -> None:
    receiver.status, receiver.text = 500, b"x" * 5_000_000
    assert data_platform.send([EVENT]) == DeliveryResult("no answer: the reply is too large")


def test_the_signature_covers_the_time_and_the_exact_bytes(
    receiver: type[Receiver], settings: LazySettings
) -> None:
    settings.EVENT_SECRET = "known to both"
    data_platform.send([EVENT])
    [(headers, body)] = receiver.received
    seconds, _, signature = headers["Firstcome-Signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(b"known to both", f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert signature == expected
    assert abs(time.time() - int(seconds)) < 5


def test_without_a_secret_nothing_is_signed(receiver: type[Receiver], settings: LazySettings) -> None:
    settings.EVENT_SECRET = ""
    data_platform.send([EVENT])
    assert "Firstcome-Signature" not in receiver.received[0][0]


def test_a_hanging_platform_costs_one_call_a_second(
    receiver: type[Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_platform, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(data_platform, "_breaker", CircuitBreaker("data platform", seconds=60))
    receiver.pause_seconds = 5
    results = [data_platform.send([EVENT]) for _ in range(5)]
    assert all(result.error.startswith("no answer") and not result.is_final for result in results)
    assert len(receiver.received) == 1
    receiver.pause_seconds = 0
    data_platform.reset()
    assert data_platform.send([EVENT]) == DeliveryResult()
