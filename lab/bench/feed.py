"""What events cost, and how quickly they are sent as webhooks, in the environment of a stack, as JSON:
`python -m lab.bench.feed 5000`."""

import json
import multiprocessing
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import django

django.setup()  # before the shop's modules

from django.contrib.auth.models import User  # noqa: E402
from django.db import connection  # noqa: E402

from events.feed import reading, recording  # noqa: E402
from events.feed.recording import NewEvent  # noqa: E402
from events.models import WebhookDelivery, WebhookEndpoint  # noqa: E402
from events.webhooks import delivery_pass, endpoints, signatures  # noqa: E402
from lab.stage import processor_seconds, wait_until  # noqa: E402
from scripts.stack import ports  # noqa: E402
from shop import clock  # noqa: E402
from shop.db import transactions  # noqa: E402
from shop.outbound import public_addresses  # noqa: E402

BATCH, SEQUENCING_SECONDS = 25, 60
DATA = '{"total_amount": 1000}'


class Receiver(BaseHTTPRequestHandler):
    """Answers at once; the sender keeps its connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")

    def log_message(self, *words: object) -> None: ...


def spent() -> dict[str, float]:
    """Microseconds of processor of this process, and of the database server."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW VARIABLES LIKE 'pid_file'")
        server = int(Path(cursor.fetchone()[1]).read_text())
    return {"python_us": 1e6 * time.process_time(), "mariadb_us": 1e6 * processor_seconds([server])}


def since(before: dict[str, float], number: int) -> dict[str, float]:
    """Of each of so many."""
    return {name: (now - before[name]) / max(1, number) for name, now in spent().items()}


def record(number: int) -> dict[str, float]:
    """What an event takes, and how late the last had its position, which the database's time has in it."""
    position, before = reading.read_state().last_position, spent()
    for start in range(0, number, BATCH):
        together = range(start, min(start + BATCH, number))
        events = [NewEvent(uuid4(), "order.paid", uuid4(), clock.now(), DATA) for _ in together]
        transactions.run(partial(recording.record_all, events), transactions.KEYED)
    of_python, ended_at = since(before, number)["python_us"], time.monotonic()
    is_there = lambda: reading.read_state().last_position >= position + number  # noqa: E731
    wait_until(is_there, within_seconds=SEQUENCING_SECONDS, pause_seconds=0.01)
    behind = time.monotonic() - ended_at
    return {**since(before, number), "python_us": of_python, "behind_seconds": behind}


def deliver(position: int, port: int) -> dict[str, Any]:
    """Webhooks a second of the events since, to an endpoint that no worker of the stack may lease."""
    endpoint = WebhookEndpoint.objects.create(
        url=f"http://{ports.HOST}:{port}/",
        events=["*"],
        secret=signatures.new_secret(),
        position=position,
        # It gets events while its owner may read them.
        owner_id=User.objects.create_superuser(f"bench-webhooks-{secrets.token_hex(4)}").pk,
        created_at=clock.now(),
        lease_token=secrets.token_hex(16),
        leased_until=clock.now() + timedelta(hours=1),
    )
    before, began_at = spent(), time.monotonic()
    # Without DEBUG no webhook is sent to an address of this host.
    with (
        mock.patch.object(public_addresses, "resolve", lambda url, **_: [ports.HOST]),
        ThreadPoolExecutor(delivery_pass.SENDING_AT_ONCE) as pool,
    ):
        while delivery_pass.run(endpoint, pool=pool):
            endpoint.refresh_from_db()
    seconds = time.monotonic() - began_at
    sent = WebhookDelivery.objects.filter(endpoint=endpoint)
    delivered = sent.filter(status=WebhookDelivery.Status.DELIVERED).count()
    taken, error = since(before, delivered), sent.exclude(error="").values_list("error", flat=True).first()
    endpoints.delete(endpoint_id=endpoint.pk)
    return {"per_second": delivered / seconds, "delivered": delivered, "error": error, **taken}


if __name__ == "__main__":
    server = ThreadingHTTPServer((ports.HOST, 0), Receiver)
    # Before there is a connection to the database or a thread, which a fork would copy.
    receiver = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    receiver.start()
    first = reading.read_state().last_position
    events = record(int(sys.argv[1]))
    print(json.dumps({"events": events, "webhooks": deliver(first, server.server_port)}))
    receiver.kill()
