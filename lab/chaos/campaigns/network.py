"""Faults of the network between the shop and what it calls, by a proxy of each link, as Toxiproxy is one
(github.com/Shopify/toxiproxy). The proxies are one thread of the campaign."""

import asyncio
import random
import socket
import struct
import threading
from asyncio import StreamReader as Reader, StreamWriter as Writer
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scripts.stack import Settings, ports
from scripts.stack.instance import Instance
from scripts.stack.processes import OUTSIDE

# Of each link the settings that lead through its proxy, whose host and port are `{address}`; `{password}` is
# that of the shop's account at the database.
SETTINGS = {
    "database": {
        "DATABASE_URL": "mysql://firstcome:{password}@{address}/firstcome",
        # The stores that the stack starts. Without this it would take the proxy for a server of the user's,
        # and start none.
        "OWN_STORES": "mariadb redis",
    },
    "redis": {"REDIS_URL": "redis://{address}/0", "BROKER_URL": "redis://{address}/1"},
    "gateway": {"GATEWAY_URL": "http://{address}"},
    "sink": {"DATA_PLATFORM_URL": "http://{address}"},
    "partner": {"PARTNER_URL": "http://{address}"},
    "webhooks": {"WEBHOOK_LISTENER": "http://{address}"},
}
CHANGE_SECONDS = 10
RESET = struct.pack("ii", 1, 0)
LOOP = asyncio.new_event_loop()


class State(StrEnum):
    """What a link does to bytes and connections. All but the first are sorts of faults."""

    PASS = "pass"  # noqa: S105 - no password
    SLOW = "slow link to"  # each chunk is late by 0.2 s, either way
    CUT = "cut link to"  # connections are reset, and new ones refused
    CUT_REPLIES = "cut replies of"  # a tenth of replies is replaced by a reset: the request has arrived
    HALF_OPEN = "half-open link to"  # bytes and ends of connections vanish; in the end the latter are reset
    LATE = "late bytes to"  # bytes are kept, and delivered in the end
    BYTEWISE = "single bytes to"  # the first 100 bytes of each chunk are sent one at a time
    OVERTAKE = "reordered calls of"  # each chunk is late by up to 3 s
    LOSE_COMMITS = "lost commits in"  # a defect to be found: each COMMIT arrives as a ROLLBACK


class Link:
    """One link from a port of loopback to another or to a socket, with a task for each connection."""

    def __init__(self, port: int, target: int | Path) -> None:
        self.port = port
        self.target = target
        self.state = State.CUT
        self.connections: set[Any] = set()
        self.changed = asyncio.Event()
        self.server: asyncio.Server

    async def become(self, state: State) -> None:
        """Change the state for all connections, and let what waited for that go on."""
        before = self.state
        self.state = state
        self.changed.set()
        self.changed = asyncio.Event()
        if state == State.CUT:
            self.server.close()
        elif before == State.CUT:
            self.server = await asyncio.start_server(self.serve, ports.HOST, self.port)
        if State.CUT in (before, state) or before == State.HALF_OPEN:
            for connection in self.connections:
                connection.cancel()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        ends = [writer]
        self.connections.add(task)
        with suppress(OSError, asyncio.CancelledError):
            if isinstance(self.target, Path):
                server_reader, server = await asyncio.open_unix_connection(self.target)
            else:
                server_reader, server = await asyncio.open_connection(ports.HOST, self.target)
            ends.append(server)
            requests = self.pump(reader, server, is_reply=False)
            await asyncio.gather(requests, self.pump(server_reader, writer, is_reply=True))
        for end in ends:
            with suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()
        self.connections.remove(task)

    async def pump(self, reader: Reader, writer: Writer, *, is_reply: bool) -> None:
        """Pass on what is read, as the state says, up to the end. Raises OSError where that is a reset."""
        while chunk := await reader.read(65_536):
            match self.state:
                case State.SLOW:
                    await asyncio.sleep(0.2)
                case State.OVERTAKE:
                    await asyncio.sleep(random.uniform(0, 3))
                case State.LATE:
                    await self.changed.wait()
                case State.HALF_OPEN:
                    continue
                # With all of them lost no connection would get as far as a request.
                case State.CUT_REPLIES if is_reply and random.random() < 0.1:
                    raise ConnectionResetError
                case State.LOSE_COMMITS if int.from_bytes(chunk[:3], "little") == len(chunk) - 4:
                    # A whole packet of MySQL: its length, its number, and its command (3: query).
                    if not is_reply and chunk[4:5] == b"\x03" and chunk.endswith(b"COMMIT"):
                        content = chunk[4:].removesuffix(b"COMMIT") + b"ROLLBACK"
                        chunk = len(content).to_bytes(3, "little") + chunk[3:4] + content
                case State.BYTEWISE:
                    for byte in chunk[:100]:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.001)
                    chunk = chunk[100:]
            writer.write(chunk)
            await writer.drain()
        # Neither side learns meanwhile that the other has closed its end.
        while self.state in (State.HALF_OPEN, State.LATE):
            await self.changed.wait()
        writer.close()


PROXIED: dict[str, Link] = {}


def outside(instance: Instance) -> dict[str, int]:
    """The port of each system outside of the shop, by its process's name."""
    return dict(zip(OUTSIDE, instance.ports[1:4], strict=True))


def start(instance: Instance, links: Sequence[str]) -> Settings:
    """Have a proxy listen for each of these links; the settings that lead through it."""
    server = instance.mariadb()
    password = quote(server.password)
    settings: Settings = {}
    servers: dict[str, int | Path] = {**outside(instance), "webhooks": instance.port}
    servers |= {"database": server.socket, "redis": instance.redis_socket}
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    for port, name in enumerate(links, ports.free(len(links))):
        PROXIED[name] = Link(port, servers[name])
        _change(name, State.PASS)
        address = f"{ports.HOST}:{port}"
        for setting, text in SETTINGS[name].items():
            settings[setting] = text.format(address=address, password=password)
    return settings


def _change(name: str, state: State) -> None:
    asyncio.run_coroutine_threadsafe(PROXIED[name].become(state), LOOP).result(CHANGE_SECONDS)


def link_in(state: State, name: str, _: Instance) -> Iterator[None]:
    _change(name, state)
    yield
    _change(name, State.PASS)
