"""The events and the receivers of `make webhook-load`, in the environment of a stack, as JSON.

… -m scripts.bench.costs.webhook_receivers --events 10000 --seconds 60 --endpoints 20 --hanging 5 --wait 9
"""

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import django
import orjson
import uvloop

django.setup()  # before the shop's modules

from django.db import connection  # noqa: E402

from scripts.bench.load import percentile  # noqa: E402
from scripts.stack import ports  # noqa: E402
from shop import clock  # noqa: E402
from shop.db import transactions  # noqa: E402
from shop.event_feed import recording  # noqa: E402
from shop.event_feed.recording import NewEvent  # noqa: E402
from shop.webhook_endpoints import endpoints  # noqa: E402

EVENTS_OF_AN_ORDER, ORDERS_AT_ONCE = 4, 4
POLL_SECONDS = 0.1
QUANTILES = {"median": 0.5, "p95": 0.95, "p99": 0.99, "most": 1.0}
ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Receiver:
    """What an endpoint got: the numbers of the events with their instants, and the ids of its requests."""

    is_hanging: bool = False
    numbers: list[int] = field(default_factory=list)
    instants: list[float] = field(default_factory=list)
    ids: set[bytes] = field(default_factory=set)

    def take(self, head: bytes, body: bytes) -> None:
        """Record a request."""
        self.numbers.append(orjson.loads(body)["data"]["number"])
        self.instants.append(time.monotonic())
        self.ids.add(_header(head, b"webhook-id"))


class Exchange(asyncio.Protocol):
    """A kept connection of the sender: whole requests, one after the other."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver, self.data = receiver, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, rest = self.data.partition(b"\r\n\r\n")
        length = int(_header(head, b"content-length")) if end else 0
        if end and len(rest) >= length:
            self.receiver.take(head, rest[:length])
            self.data = rest[length:]
            if not self.receiver.is_hanging:
                self.transport.write(ANSWER)


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write events, and receive them as webhooks.")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--endpoints", type=int, required=True)
    parser.add_argument("--hanging", type=int, required=True)
    parser.add_argument("--wait", type=float, required=True)
    asked = parser.parse_args()
    receivers = [Receiver(is_hanging=number < asked.hanging) for number in range(asked.endpoints)]
    print(json.dumps(uvloop.run(_measure(receivers, asked))))


async def _measure(receivers: Sequence[Receiver], asked: argparse.Namespace) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    for receiver in receivers:
        server = await loop.create_server(partial(Exchange, receiver), ports.HOST, 0)
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(_create_endpoint, f"http://{ports.HOST}:{port}/")
    written_at = [0.0] * asked.events
    began_at = time.monotonic()
    writer = threading.Thread(target=_write, args=(written_at, asked.seconds))
    writer.start()
    while writer.is_alive():
        await asyncio.sleep(POLL_SECONDS)
    wrote_at = time.monotonic()
    answering = [receiver for receiver in receivers if not receiver.is_hanging]
    while time.monotonic() < wrote_at + asked.wait:
        if all(len(receiver.ids) >= asked.events for receiver in answering):
            break
        await asyncio.sleep(POLL_SECONDS)
    return {
        "events": asked.events,
        "orders": -(-asked.events // EVENTS_OF_AN_ORDER),
        "write_seconds": wrote_at - began_at,
        "answering": len(answering),
        "hanging": len(receivers) - len(answering),
        "asked_hanging": sum(len(one.numbers) for one in receivers if one.is_hanging),
        **found(answering, written_at, began_at),
    }


def found(answering: Sequence[Receiver], written_at: Sequence[float], began_at: float) -> dict[str, Any]:
    """What the receivers lack or got too often, and how late they got it."""
    events = len(written_at)
    lags = sorted(
        instant - written_at[number]
        for receiver in answering
        for number, instant in zip(receiver.numbers, receiver.instants, strict=True)
    )
    ended_at = max((max(receiver.instants, default=began_at) for receiver in answering), default=began_at)
    return {
        "received": len(lags),
        "missing": sum(events - len(set(receiver.numbers)) for receiver in answering),
        "twice": sum(len(receiver.numbers) - len(receiver.ids) for receiver in answering),
        "out_of_sequence": sum(out_of_sequence(receiver.numbers) for receiver in answering),
        "took_seconds": ended_at - began_at,
        "behind_seconds": max(0.0, ended_at - max(written_at)),
        "lag_seconds": {name: percentile(lags, share) for name, share in QUANTILES.items()},
    }


def out_of_sequence(numbers: Sequence[int]) -> int:
    """How many came behind a later event of their order."""
    by_order: dict[int, list[int]] = {}
    for number in numbers:
        by_order.setdefault(number // EVENTS_OF_AN_ORDER, []).append(number)
    return sum(first > second for of_order in by_order.values() for first, second in pairwise(of_order))


def _create_endpoint(url: str) -> None:
    endpoints.create(url=url, events=["*"])
    connection.close()


def _write(written_at: list[float], seconds: float) -> None:
    """Write the events evenly over the time, one of each of four orders by a transaction."""
    began_at, events, orders = time.monotonic(), len(written_at), dict[int, UUID]()
    for start in range(0, events, ORDERS_AT_ONCE):
        time.sleep(max(0.0, began_at + start * seconds / events - time.monotonic()))
        together = [number_at(index, events) for index in range(start, min(events, start + ORDERS_AT_ONCE))]
        for number in together:
            orders.setdefault(number // EVENTS_OF_AN_ORDER, uuid4())
            written_at[number] = time.monotonic()
        _record([_event(number, orders[number // EVENTS_OF_AN_ORDER]) for number in together])
    connection.close()


def _event(number: int, order_id: UUID) -> NewEvent:
    data = orjson.dumps({"order": str(order_id), "number": number}).decode()
    return NewEvent(uuid4(), "order.paid", order_id, clock.now(), data)


def number_at(index: int, events: int) -> int:
    """Which event is the next: of four orders the first ones, then the second ones, and so on."""
    size = ORDERS_AT_ONCE * EVENTS_OF_AN_ORDER
    block, within = divmod(index, size)
    if (block + 1) * size > events:
        return index
    turn, order = divmod(within, ORDERS_AT_ONCE)
    return block * size + order * EVENTS_OF_AN_ORDER + turn


def _record(events: Sequence[NewEvent]) -> None:
    transactions.run(lambda: recording.record_all(events), transactions.KEYED)


if __name__ == "__main__":
    main()
