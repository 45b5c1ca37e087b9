"""A proxy of links whose network can be made bad, as Toxiproxy's can (github.com/Shopify/toxiproxy).

python -m lab.chaos.campaigns.network.proxy --control PATH NAME=PORT:HOST:PORT NAME=PORT:PATH

A link leads from a port of loopback to a server's address. One line to the control socket, `NAME STATE`,
changes a link's state and is answered `ok`:

| state | what happens to bytes and connections |
| --- | --- |
| pass | nothing |
| slow | each chunk is late by `SLOW_SECONDS`, either way |
| cut | connections are reset, and new ones refused |
| cut_replies | some replies are replaced by a reset: the request has arrived |
| half_open | bytes and ends of connections vanish; in the end the connections are reset |
| late | bytes are kept, and delivered in the end |
| overtake | each chunk is late by up to `OVERTAKE_SECONDS`, so connections overtake one another |
| bytewise | the first bytes of each chunk are sent one at a time |
| lose_commits | each COMMIT of MySQL's protocol arrives as a ROLLBACK: a defect to be found |
"""

import argparse
import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from scripts.stack import children
from scripts.stack.ports import HOST

SLOW_SECONDS = 0.2
OVERTAKE_SECONDS = 3.0
CUT_SHARE = 0.1
"""So many replies are lost: with all of them lost no connection would get as far as a request."""
BYTES_APART, BYTE_SECONDS = 100, 0.001
CHUNK_BYTES = 65_536
HEADER_BYTES, QUERY = 4, b"\x03"
COMMIT, ROLLBACK = b"COMMIT", b"ROLLBACK"
RESET = struct.pack("ii", 1, 0)


class State(StrEnum):
    """What the network of a link does."""

    PASS = "pass"  # noqa: S105 - no password
    SLOW = "slow"
    CUT = "cut"
    CUT_REPLIES = "cut_replies"
    HALF_OPEN = "half_open"
    LATE = "late"
    OVERTAKE = "overtake"
    BYTEWISE = "bytewise"
    LOSE_COMMITS = "lose_commits"


SILENT = (State.HALF_OPEN, State.LATE)
"""Neither side learns meanwhile that the other has closed its end."""


@dataclass(eq=False)
class Connection:
    """Both ends of one connection: the client's and the server's."""

    ends: list[asyncio.StreamWriter]

    def reset(self) -> None:
        """Close both ends at once, by RST."""
        for end in self.ends:
            with suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()


@dataclass(eq=False)
class Link:
    """One link and its connections. `target` is a host and port, or the path of a unix socket."""

    name: str
    port: int
    target: tuple[str, int] | str
    state: State = State.PASS
    _connections: set[Connection] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    async def set_state(self, state: State) -> None:
        """Change the state for all connections, and let what waited for that go on."""
        before, self.state = self.state, state
        self._changed.set()
        self._changed = asyncio.Event()
        if state == State.CUT and self._server:
            self._server.close()
            self._server = None
        if State.CUT in (before, state) or before == State.HALF_OPEN:
            for connection in [*self._connections]:
                connection.reset()
        if state != State.CUT and not self._server:
            self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection([writer])
        self._connections.add(connection)
        try:
            server_reader, server = await self._connect()
            connection.ends.append(server)
            await asyncio.gather(
                self._pump(reader, server, connection, is_reply=False),
                self._pump(server_reader, writer, connection, is_reply=True),
            )
        except OSError:
            pass
        finally:
            connection.reset()
            self._connections.discard(connection)

    def _connect(self) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if isinstance(self.target, str):
            return asyncio.open_unix_connection(self.target)
        return asyncio.open_connection(*self.target)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: Connection,
        *,
        is_reply: bool,
    ) -> None:
        """Pass on what is read, as the state says, up to the end of the connection."""
        while chunk := await reader.read(CHUNK_BYTES):
            match self.state:
                case State.SLOW:
                    await asyncio.sleep(SLOW_SECONDS)
                case State.OVERTAKE:
                    await asyncio.sleep(random.uniform(0, OVERTAKE_SECONDS))
                case State.LATE:
                    await self._changed.wait()
                case State.HALF_OPEN:
                    continue
                case State.CUT_REPLIES if is_reply and random.random() < CUT_SHARE:
                    connection.reset()
                    return
                case State.LOSE_COMMITS if not is_reply:
                    chunk = without_commit(chunk)
                case State.BYTEWISE:
                    for byte in chunk[:BYTES_APART]:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(BYTE_SECONDS)
                    chunk = chunk[BYTES_APART:]
            writer.write(chunk)
            await writer.drain()
        while self.state in SILENT:
            await self._changed.wait()
        writer.close()


def without_commit(chunk: bytes) -> bytes:
    """A query of MySQL's protocol with ROLLBACK instead of the COMMIT at its end; anything else as it is.

    A packet has three bytes for its length, one for its number, then the command and its text.
    """
    header, command, text = chunk[:HEADER_BYTES], chunk[HEADER_BYTES:][:1], chunk[HEADER_BYTES + 1 :]
    is_whole = int.from_bytes(header[:3], "little") == len(chunk) - HEADER_BYTES
    if not (is_whole and command == QUERY and text.endswith(COMMIT)):
        return chunk
    text = text.removesuffix(COMMIT) + ROLLBACK
    return (len(text) + 1).to_bytes(3, "little") + header[3:] + command + text


def _link(text: str) -> Link:
    name, _, addresses = text.partition("=")
    port, _, target = addresses.partition(":")
    host, _, number = target.rpartition(":")
    return Link(name, int(port), target if target.startswith("/") else (host, int(number)))


def _controlled(
    links: dict[str, Link],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle_command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, state = (await reader.readline()).decode().split()
        await links[name].set_state(State(state))
        writer.write(b"ok\n")
        await writer.drain()
        writer.close()

    return handle_command


async def serve(links: list[Link], control: Path) -> None:
    """Serve the links until the process ends; the control socket is there once all of them listen."""
    for link in links:
        await link.set_state(State.PASS)
    server = await asyncio.start_unix_server(_controlled({link.name: link for link in links}), control)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="proxy", description="Links whose network can be made bad.")
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("links", nargs="+", type=_link)
    asked = parser.parse_args()
    children.end_with_parent()
    asyncio.run(serve(asked.links, asked.control))


if __name__ == "__main__":
    main()
