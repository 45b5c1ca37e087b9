"""What events cost, and how quickly they are sent as webhooks, in the environment of a stack, as JSON.

python -m lab.bench.workloads.feed_load --events 5000
"""

import argparse
import asyncio
import json
import multiprocessing
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from unittest import mock
from uuid import uuid4

import django
import httptools

django.setup()  # before the shop's modules

from events.feed import reading, recording  # noqa: E402
from events.feed.recording import NewEvent  # noqa: E402
from events.models import WebhookDelivery, WebhookEndpoint  # noqa: E402
from events.webhooks import delivery_pass, endpoints, signatures  # noqa: E402
from lab.bench.stage import wait_until  # noqa: E402
from lab.bench.workloads.without_http import BATCH, spent  # noqa: E402
from scripts.stack import ports  # noqa: E402
from shop import clock  # noqa: E402
from shop.db import transactions  # noqa: E402
from shop.outbound import public_addresses  # noqa: E402

SEQUENCING_SECONDS = 60
ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
DATA = '{"total_amount": 1000}'


class Receiver(asyncio.Protocol):
    """A connection of the sender, which it keeps: each request is answered once it is whole."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(ANSWER)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure events, and webhooks.")
    parser.add_argument("--events", type=int, required=True)
    number = parser.parse_args().events
    listener = socket.create_server((ports.HOST, 0))
    # Before there is a connection to the database or a thread, which a fork would copy.
    receiver = multiprocessing.get_context("fork").Process(target=_receive, args=(listener,), daemon=True)
    receiver.start()
    position = reading.read_state().last_position
    print(json.dumps({"events": _record(number), "webhooks": _deliver(number, position, listener)}))
    receiver.kill()


def _receive(listener: socket.socket) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Receiver, sock=listener)
        await server.serve_forever()

    asyncio.run(serve())


def _record(number: int) -> dict[str, float]:
    """Microseconds of an event, those of its position included, and how late the last had its position."""
    position, before = reading.read_state().last_position, spent()
    for start in range(0, number, BATCH):
        together = range(start, min(start + BATCH, number))
        events = [NewEvent(uuid4(), "order.paid", uuid4(), clock.now(), DATA) for _ in together]
        transactions.run(partial(recording.record_all, events), transactions.KEYED)
    python, ended_at = spent()["python"], time.monotonic()
    wait_until(
        lambda: reading.read_state().last_position >= position + number,
        within_seconds=SEQUENCING_SECONDS,
        poll_seconds=0.01,
    )
    behind_seconds = time.monotonic() - ended_at
    return _of_each(before, {**spent(), "python": python}, number) | {"behind_seconds": behind_seconds}


def _deliver(number: int, position: int, listener: socket.socket) -> dict[str, float]:
    """Webhooks a second to an endpoint that no worker of the stack may lease, and microseconds of one."""
    endpoint = WebhookEndpoint.objects.create(
        url=f"http://{ports.HOST}:{listener.getsockname()[1]}/",
        events=["*"],
        secret=signatures.new_secret(),
        position=position,
        created_at=clock.now(),
        lease_token=secrets.token_hex(16),
        leased_until=clock.now() + timedelta(hours=1),
    )
    before, began_at, has_more = spent(), time.monotonic(), True
    # Without DEBUG no webhook is sent to an address of this host.
    with (
        mock.patch.object(public_addresses, "resolve", lambda url, **_: [ports.HOST]),
        ThreadPoolExecutor(delivery_pass.SENDING_AT_ONCE) as pool,
    ):
        while has_more:
            has_more = delivery_pass.run(endpoint, pool=pool)
            endpoint.refresh_from_db()
    seconds, after = time.monotonic() - began_at, spent()
    sent = WebhookDelivery.objects.filter(endpoint=endpoint)
    delivered = sent.filter(status=WebhookDelivery.Status.DELIVERED).count()
    endpoints.delete(endpoint_id=endpoint.pk)
    return _of_each(before, after, delivered) | {"per_second": delivered / seconds, "delivered": delivered}


def _of_each(before: dict[str, float], after: dict[str, float], number: int) -> dict[str, float]:
    return {name: 1e6 * (after[name] - before[name]) / max(1, number) for name in after}


if __name__ == "__main__":
    main()
