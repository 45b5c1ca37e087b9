"""Faults of the network between the shop and what it calls, by a proxy of each link, as Toxiproxy is one
(github.com/Shopify/toxiproxy). The proxies are one thread of the campaign."""

import asyncio
import random
import socket
import struct
import threading
from asyncio import StreamReader as Reader, StreamWriter as Writer
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from lab.chaos.clients import at_work
from scripts.stack import ports
from scripts.stack.environment import OWN_STORES
from scripts.stack.instance import Instance
from scripts.stack.mariadb import DATABASE, USER
from scripts.stack.processes import WEBHOOK_LISTENER

LINKS = ("database", "redis", "gateway", "sink", "partner", "webhooks")
"""The servers that the shop calls (Redis is its broker as well), and the gateway's calls of the shop."""
CHANGE_SECONDS = 10
RESET = struct.pack("ii", 1, 0)


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
        self.port, self.target, self.state = port, target, State.CUT
        self.connections = set[Any]()
        self.changed = asyncio.Event()
        self.server: asyncio.Server

    async def become(self, state: State) -> None:
        """Change the state for all connections, and let what waited for that go on."""
        before, self.state = self.state, state
        self.changed.set()
        self.changed = asyncio.Event()
        if state == State.CUT:
            self.server.close()
        elif before == State.CUT:
            self.loop = asyncio.get_running_loop()
            self.server = await asyncio.start_server(self.serve, ports.HOST, self.port)
        if State.CUT in (before, state) or before == State.HALF_OPEN:
            for connection in self.connections:
                connection.cancel()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Pass on what either side sends, until one ends; then both are reset."""
        task, ends = asyncio.current_task(), [writer]
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
                case State.LOSE_COMMITS if not is_reply:
                    chunk = without_commit(chunk)
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


def without_commit(chunk: bytes) -> bytes:
    """A query of MySQL's protocol with ROLLBACK instead of the COMMIT at its end; anything else as it is.

    A packet has three bytes for its length, one for its number, one for its command (3: query).
    """
    is_whole = int.from_bytes(chunk[:3], "little") == len(chunk) - 4
    if not (is_whole and chunk[4:5] == b"\x03" and chunk.endswith(b"COMMIT")):
        return chunk
    content = chunk[4:].removesuffix(b"COMMIT") + b"ROLLBACK"
    return len(content).to_bytes(3, "little") + chunk[3:4] + content


PROXIED: dict[str, Link] = {}
"""The links of this process' campaign, by name."""


@contextmanager
def beside(instance: Instance, links: Sequence[str]) -> Iterator[dict[str, str]]:
    """A proxy listens for each of these links, if any; yields the settings that lead through it."""
    if not links:
        yield {}
        return
    server, first = instance.mariadb(), ports.free(len(links))
    database_url = f"mysql://{USER}:{quote(server.password)}@{{}}/{DATABASE}"
    # Of each link its server, a port or a socket, and the settings that lead to it.
    routes: dict[str, tuple[int | Path, dict[str, str]]] = {
        "database": (server.socket, {"DATABASE_URL": database_url}),
        "redis": (instance.redis_socket, {"REDIS_URL": "redis://{}/0", "BROKER_URL": "redis://{}/1"}),
        "gateway": (instance.gateway_port, {"GATEWAY_URL": "http://{}"}),
        "sink": (instance.data_platform_port, {"DATA_PLATFORM_URL": "http://{}"}),
        "partner": (instance.partner_port, {"PARTNER_URL": "http://{}"}),
        "webhooks": (instance.port, {WEBHOOK_LISTENER: "http://{}"}),
    }
    settings, all_listen = {OWN_STORES: "mariadb redis"} if "database" in links else {}, threading.Event()
    for port, name in enumerate(links, first):
        target, urls = routes[name]
        PROXIED[name] = Link(port, target)
        settings |= {key: url.format(f"{ports.HOST}:{port}") for key, url in urls.items()}

    async def serve(stop: threading.Event) -> None:
        for link in PROXIED.values():
            await link.become(State.PASS)
        all_listen.set()
        await asyncio.to_thread(stop.wait)

    with at_work([SimpleNamespace(run=lambda stop: asyncio.run(serve(stop)))]):
        all_listen.wait(CHANGE_SECONDS)
        yield settings


@contextmanager
def _link_in(state: State, name: str, _: Instance) -> Iterator[None]:
    """The link is in this state."""
    link = PROXIED[name]
    become = lambda state: asyncio.run_coroutine_threadsafe(link.become(state), link.loop)  # noqa: E731
    become(state).result(CHANGE_SECONDS)
    try:
        yield
    finally:
        become(State.PASS).result(CHANGE_SECONDS)


LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    state: partial(_link_in, state) for state in State if state != State.PASS
}
