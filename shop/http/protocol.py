"""A connection's requests: parsed by httptools, handed to the application by uvicorn, bounded here.

Beyond uvicorn's protocol this one bounds heads in time and size, pipelined requests, and clients that read no
response; and a client that is still sending when its connection closes gets to read its response.
"""

import asyncio
import socket
import struct
from typing import Any, Literal
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shop.http import connections, refusals
from shop.http.connections import Connections

HEAD_BYTES = 16 * 1024
"""Of a request's line and headers."""
TARGET_BYTES = 8 * 1024
PIPELINED = 64
"""Requests that may wait for the one before them; a connection with more closes once these are answered."""
FRAMING_BYTES = 2**20
"""What a body in chunks may bring besides the body: sizes, extensions and trailers of its chunks."""
LINGER_BYTES = 8 * 2**20
"""What a client may go on sending once it has its response."""

RESET = struct.pack("ii", 1, 0)
"""For `SO_LINGER`: closing ends the connection at once."""
DISCONNECTED: ASGIReceiveEvent = {"type": "http.disconnect"}


class _Refused(Exception):
    """Ends the parsing; the connection has been given its last response."""


class Sender:
    """The connection as an exchange sees it: its closing waits until the client can read the response."""

    __slots__ = ("_connection", "is_closing", "write")

    def __init__(self, connection: "Protocol") -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        self._connection.end_after_response()

    def is_server_stopping(self) -> bool:
        return self._connection.server_state.is_stopping


class Exchange(RequestResponseCycle):
    """One request and its response.

    The application gives a Content-Length with what it answers to clients of HTTP/1.0, which know no chunks.
    """

    is_cut = False
    """Whether the client sends no more on this connection. It may still read the response."""
    is_received = False
    """Whether the application has the whole request."""

    transport: Sender  # type: ignore[assignment]

    async def receive(self) -> ASGIReceiveEvent:
        if self.is_cut and (self.more_body or self.is_received):
            return DISCONNECTED
        message = await super().receive()
        if self.is_cut and (self.more_body or self.is_received):
            return DISCONNECTED
        self.is_received = not self.more_body
        return message

    async def send(self, message: ASGISendEvent) -> None:
        # The client may be sending its body, or wait for `100 Continue` and never send it: nothing says where
        # its next request would begin.
        if self.more_body and not self.response_started:
            self.keep_alive = False
        await super().send(message)

    async def send_500_response(self) -> None:
        """Answer for an application that failed, or was cancelled because the server stops."""
        response = refusals.STOPPED if self.transport.is_server_stopping() else refusals.FAILED
        headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
        headers += [(b"content-length", str(len(response.content)).encode()), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await self.send({"type": "http.response.body", "body": response.content, "more_body": False})


class Protocol(HttpToolsProtocol):
    """One connection."""

    # Beside uvicorn's attributes, whose dictionary is shared by all connections only while it is small.
    __slots__ = (
        "chunk_bytes",
        "framing_bytes",
        "head_bytes",
        "is_chunk_of_head",
        "is_cut",
        "is_deaf",
        "lingering_bytes",
        "network",
        "reads",
        "refusal",
        "running",
        "sender",
    )
    server_state: Connections
    cycle: Exchange

    def __init__(
        self,
        config: Config,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.network: str | None = ""
        self.reads: Literal["nothing", "head", "body"] = "nothing"
        """What is being read, or nothing between two requests."""
        self.chunk_bytes = self.head_bytes = self.framing_bytes = self.lingering_bytes = 0
        self.is_chunk_of_head = True
        self.running: Exchange = None  # type: ignore[assignment]
        self.is_deaf = False
        """Whether what the client sends is thrown away."""
        self.is_cut = False
        self.refusal = b""
        """What to answer after the exchanges under way, before the connection closes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.sender = Sender(self)
        self.network = self.server_state.admit(self.client[0] if self.client else "")
        if self.network is None:
            connections.closed.labels("crowded").inc()
            self.is_deaf = True
            transport.write(refusals.CROWDED)
            self.close()
        else:
            self._await_first_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.forget(self, self.network or "")
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_deaf:
            self.lingering_bytes += len(data)
            if self.lingering_bytes > LINGER_BYTES and self in self.server_state.lingering:
                self.close()
            return
        self.chunk_bytes, self.is_chunk_of_head = len(data), self.reads != "body"
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if not self.is_deaf:
                self._refuse(refusals.INVALID)
            return
        if self.reads == "head":
            self._await_head()
        elif self.reads == "body":
            self.framing_bytes += len(data)
            if self.framing_bytes > FRAMING_BYTES:
                self._refuse(refusals.INVALID)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for the responses under way: its client has sent everything, or breaks off."""
        self.is_cut = True
        if self.is_deaf or self.cycle is None or self.cycle.response_complete:
            self.close()
            return True
        # Those queued learn it when they ask for more.
        for exchange in (self.running, self.cycle):
            exchange.is_cut = True
            exchange.message_event.set()
        self.cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.server_state.idle.pop(self, None)
        self.reads = "head"
        self.head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reads == "head":  # and no trailer of a body in chunks
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.server_state.heads.pop(self, None)
        if self.chunk_bytes + self.head_bytes > TARGET_BYTES:
            self._require_small_head()
        url = httptools.parse_url(self.url)
        self.reads = "body"
        self.framing_bytes = 0
        version = self.parser.get_http_version()
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        before = self.cycle
        exchange = self.cycle = Exchange(
            scope,
            self.sender,  # type: ignore[arg-type]
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            version != "1.0" and self.parser.should_keep_alive() and not self.server_state.is_stopping,
            self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(exchange, self.app)
            return
        self.flow.pause_reading()
        self.pipeline.appendleft((exchange, self.app))
        if len(self.pipeline) >= PIPELINED:
            exchange.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.framing_bytes -= len(body)
        exchange = self.cycle
        if not exchange.response_complete:
            exchange.body += body
            if len(exchange.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            exchange.message_event.set()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.reads, self.is_chunk_of_head = "nothing", False
        if not self.cycle.keep_alive and self.pipeline:
            self.is_deaf = True
            raise _Refused

    def on_response_complete(self) -> None:
        state = self.server_state
        state.total_requests += 1
        if self.transport.is_closing() or self in state.lingering:
            return
        if self.pipeline:
            self.flow.resume_reading()
            exchange, application = self.pipeline.pop()
            self._start_asgi_task(exchange, application)
        elif self.refusal:
            self.transport.write(self.refusal)
            self._linger()
        else:
            self.flow.resume_reading()
            if self.reads == "nothing":
                state.idle[self] = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self.server_state.unsent.pop(self, None)

    def shutdown(self) -> None:
        """The server stops: answer what is under way, and what arrives within a moment."""
        state = self.server_state
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif self.reads == "nothing" and self not in state.lingering:
            state.heads.pop(self, None)
            self._await_first_request()

    def refuse_late_head(self) -> None:
        if self.reads == "head":
            self._refuse(refusals.LATE)
        else:
            self.close()

    def close(self) -> None:
        self.transport.close()
        self._watch_sending()

    def cut_off(self) -> None:
        # Or the system would keep its part of the response for as long as the client reads nothing.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def end_after_response(self) -> None:
        """Close; a client that is still sending may read its response before."""
        if self in self.server_state.lingering:
            return
        if self.is_deaf or (self.running is not None and self.running.more_body):
            self._linger()
        else:
            self.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        assert isinstance(cycle, Exchange)
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No other protocol is spoken here: the request is like any other, and so is what follows.
            rest = data[upgrade.args[0] :]
            if rest:
                self._feed(rest)

    def _await_first_request(self) -> None:
        """A server that stops waits for it as for any other, which is not long."""
        state = self.server_state
        awaiting = state.idle if state.is_stopping else state.heads
        awaiting[self] = self.loop.time()

    def _await_head(self) -> None:
        """A head has begun, and is not whole."""
        self.server_state.heads.setdefault(self, self.loop.time())
        if self.is_chunk_of_head:
            self.head_bytes += self.chunk_bytes
        if self.head_bytes > HEAD_BYTES:
            self._refuse(refusals.LARGE_HEAD if self.headers else refusals.LONG_TARGET)

    def _require_small_head(self) -> None:
        target_bytes = len(self.url)
        if target_bytes > TARGET_BYTES:
            self._refuse(refusals.LONG_TARGET)
            raise _Refused
        if target_bytes + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            self._refuse(refusals.LARGE_HEAD)
            raise _Refused

    def _refuse(self, response: bytes) -> None:
        """Take nothing more from the client; answer so after the exchanges under way, and close."""
        self.is_deaf = True
        self.server_state.heads.pop(self, None)
        exchange = self.cycle
        if self.reads == "body":
            if exchange.response_started:
                exchange.is_cut = True
                exchange.message_event.set()
                return
            if exchange is not self.running:
                self.pipeline.popleft()
            else:
                exchange.disconnected = True
                exchange.message_event.set()
        if self.running is None or self.running.response_complete or self.running.disconnected:
            self.transport.write(response)
            self._linger()
        else:
            self.refusal = response

    def _linger(self) -> None:
        """End the sending, and read on for a moment: closing now could lose the last response."""
        self.is_deaf = True
        if self.is_cut:
            self.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self.server_state.lingering[self] = self.loop.time()

    def _watch_sending(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            self.server_state.unsent.setdefault(self, (self.loop.time(), unsent))
