"""The HTTP protocol of a connection: parsed by httptools, run by uvicorn, with limits added here.

Beyond uvicorn's protocol it limits the time and size of heads, pipelined requests, and clients that read no
response. A client that is still sending when its connection closes gets to read its response.
"""

import asyncio
import socket
import struct
from typing import Any, Literal
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shop.observability import request_metrics
from shop.server import connections, refusals
from shop.server.connections import Connections
from shop.server.exchange import Exchange, Sender
from shop.server.refusals import ByLanguage

MAX_HEAD_BYTES = 16 * 1024
"""Of a request's line and headers."""
MAX_TARGET_BYTES = 8 * 1024
MAX_HEADERS = 128
"""Of a request: each occupies about 200 bytes while the request waits, however short it is."""
MAX_PIPELINED_REQUESTS = 64
"""Requests that may wait for the one before them; beyond that, the connection closes after these."""
MAX_FRAMING_BYTES = 2**20
"""What a chunked body may contain besides the data: sizes, extensions and trailers of its chunks."""
MAX_LINGER_BYTES = 8 * 2**20
"""What a client may still send after it has its response."""

FRAMING_HEADERS = (b"content-length", b"transfer-encoding")
"""The headers that define where a body ends."""
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""For `SO_LINGER`: closing resets the connection at once."""


class _ParsingEnded(Exception):
    """Ends the parsing; the connection's last response is sent or scheduled."""


class Protocol(HttpToolsProtocol):
    # Besides uvicorn's attributes, whose dictionary connections share only while it is small.
    __slots__ = (
        "chunk_bytes",
        "framing_bytes",
        "head_bytes",
        "is_chunk_of_head",
        "is_cut",
        "is_deaf",
        "is_resumed",
        "is_skipped",
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
        """What is being read, or "nothing" between two requests."""
        self.chunk_bytes = self.head_bytes = self.framing_bytes = self.lingering_bytes = 0
        self.is_chunk_of_head = True
        self.running: Exchange = None  # type: ignore[assignment]
        self.is_deaf = False
        """Whether data from the client is dropped."""
        self.is_cut = False
        self.is_skipped = False
        """Whether the parser, which sees an upgrade, reads no body although the request has one."""
        self.is_resumed = False
        """Whether the parser reads a generated head, which makes it read that body."""
        self.refusal = b""
        """The response to send after the exchanges in progress, before the connection closes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.sender = Sender(self)
        self.network = self.server_state.admit(self.client[0] if self.client else "")
        if self.network is None:
            connections.closed_connections.labels("crowded").inc()
            self.is_deaf = True
            request_metrics.count_refusal("", refusals.CROWDED.status, refusals.CROWDED.code)
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
            if self.lingering_bytes > MAX_LINGER_BYTES and self in self.server_state.lingering:
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
            self.server_state.bodies.setdefault(self, self.loop.time())
            self.framing_bytes += len(data)
            if self.framing_bytes > MAX_FRAMING_BYTES:
                self._refuse(refusals.INVALID)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for the responses in progress: the client has sent everything, or is gone."""
        self.is_cut = True
        if self.is_deaf or self.cycle is None or self.cycle.response_complete:
            self.close()
            return True
        # Queued exchanges learn it when they ask for more.
        for exchange in (self.running, self.cycle):
            exchange.is_cut = True
            exchange.message_event.set()
        self.cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        if self.is_resumed:
            return
        super().on_message_begin()
        self.server_state.idle.pop(self, None)
        self.reads = "head"
        self.head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reads == "head":  # not a trailer of a chunked body
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.is_resumed:
            self.is_resumed = False
            return
        self.server_state.heads.pop(self, None)
        if self.chunk_bytes + self.head_bytes > MAX_TARGET_BYTES or len(self.headers) > MAX_HEADERS:
            self._require_small_head()
        version = self.parser.get_http_version()
        if version == "1.1" and [name for name, _ in self.headers].count(b"host") != 1:
            # Each proxy on the way may have read another host than the shop would (RFC 9112, 3.2).
            self._refuse(refusals.INVALID)
            raise _ParsingEnded
        url = httptools.parse_url(self.url)
        target = url.path or b"/"  # missing in a target like `http://host`
        path = target.decode("ascii")
        self.reads = "body"
        self.framing_bytes = 0
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = target
        scope["query_string"] = url.query or b""
        self.is_skipped = self.parser.should_upgrade() and any(
            name in FRAMING_HEADERS for name, _ in self.headers
        )
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
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
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
        if self.is_skipped:
            return
        super().on_message_complete()
        self.server_state.bodies.pop(self, None)
        self.reads, self.is_chunk_of_head = "nothing", False
        if not self.cycle.keep_alive and self.pipeline:
            self.is_deaf = True
            raise _ParsingEnded

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
        """Stop: answer requests in progress, and those that arrive within a moment."""
        state = self.server_state
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif self.reads == "nothing" and self not in state.lingering:
            state.heads.pop(self, None)
            self._await_first_request()

    def refuse_late_head(self) -> None:
        connections.closed_connections.labels("late_head").inc()
        if self.reads == "head":
            self._refuse(refusals.LATE)
        else:
            self.close()

    def cut_late_body(self) -> None:
        connections.late_bodies.inc()
        self.cycle.is_cut = True
        self.cycle.message_event.set()

    def close(self) -> None:
        self.transport.close()
        self._watch_sending()

    def cut_off(self) -> None:
        # Otherwise the system would keep its part of the response for as long as the client reads nothing.
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE
        )
        self.transport.abort()

    def end_after_response(self) -> None:
        """Close; a client that is still sending may read its response first."""
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
            # No other protocol is supported: the request is treated like any other, and so is what follows.
            rest = data[upgrade.args[0] :]
            if self.is_skipped:
                self._resume_body()
            if rest:
                self._feed(rest)

    def _resume_body(self) -> None:
        """Read the body after all: parsed as the next request, it could be one that a proxy never saw."""
        self.is_skipped, self.is_resumed = False, True
        framing = [b"%s: %s\r\n" % header for header in self.headers if header[0] in FRAMING_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(framing))

    def _await_first_request(self) -> None:
        """Start the wait for the first request; while the server stops it is as short as any other."""
        state = self.server_state
        awaiting = state.idle if state.is_stopping else state.heads
        awaiting[self] = self.loop.time()

    def _await_head(self) -> None:
        self.server_state.heads.setdefault(self, self.loop.time())
        if self.is_chunk_of_head:
            self.head_bytes += self.chunk_bytes
        if self.head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(refusals.LARGE_HEAD if self.headers else refusals.LONG_TARGET)

    def _require_small_head(self) -> None:
        target_bytes = len(self.url)
        if target_bytes > MAX_TARGET_BYTES:
            self._refuse(refusals.LONG_TARGET)
            raise _ParsingEnded
        head_bytes = target_bytes + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(refusals.LARGE_HEAD)
            raise _ParsingEnded

    def _refuse(self, refusal: ByLanguage) -> None:
        """Read no more from the client; send this response after the exchanges in progress, and close."""
        response = refusals.in_language(refusal, self.headers)
        request_metrics.count_refusal("", response.status, response.code)
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
        """Stop sending, and keep reading for a moment: closing now could lose the last response."""
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
