"""One request of a connection and its response: uvicorn's, but a response that is whole is one write."""

from typing import TYPE_CHECKING

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from shop.observability import request_metrics
from shop.server import refusals

if TYPE_CHECKING:
    from shop.server.protocol import Protocol

DISCONNECTED: ASGIReceiveEvent = {"type": "http.disconnect"}


class Sender:
    """The transport as an exchange sees it: `close` waits until the client can read the response."""

    __slots__ = ("close", "is_closing", "server_state", "write")

    def __init__(self, connection: "Protocol") -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self.close = connection.end_after_response
        self.server_state = connection.server_state


class Exchange(RequestResponseCycle):
    is_cut = False
    """Whether the client sends no more on this connection. It may still read the response."""
    is_received = False
    """Whether the application has received the whole request."""

    start: HTTPResponseStartEvent | None = None
    """The start of a response of known length, held until its body arrives."""

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
        # The client may be sending its body, or wait for `100 Continue` and never send it: it is unknown
        # where its next request would begin.
        if self.more_body and not self.response_started:
            self.keep_alive = False
        if message["type"] == "http.response.start" and not self.response_started:
            self.start = message
            return
        start, self.start = self.start, None
        if start is not None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                head = self._head(start, message.get("body", b""))
                if head:
                    await self._send_whole(head, message.get("body", b""))
                    return
            await super().send(start)
        await super().send(message)

    def _head(self, start: HTTPResponseStartEvent, body: bytes) -> bytes:
        """The head of a response whose body is at hand; b"" if uvicorn's own code has more to do.

        uvicorn checks and writes each header separately, which took a seventh of a small call.
        """
        parts = [STATUS_LINE[start["status"]]]
        length = b""
        for name, value in (*self.default_headers, *start["headers"]):
            if name == b"connection" or name == b"transfer-encoding" or b"\r" in value or b"\n" in value:
                return b""
            if name == b"content-length":
                length = value
            parts += (name, b": ", value, b"\r\n")
        if int(length or -1) != len(body) or self.scope["method"] == "HEAD":
            return b""
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(parts)

    async def _send_whole(self, head: bytes, body: bytes) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.transport.write(head + body)
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    async def send_500_response(self) -> None:
        """Respond for an application that failed, or was cancelled because the server stops."""
        refuse = refusals.stopped if self.transport.server_state.is_stopping else refusals.failed
        response = refuse(self.scope["headers"])
        request_metrics.count_refusal("", response.status_code, response.code)
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        headers += [(b"content-length", str(len(response.body)).encode()), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await self.send({"type": "http.response.body", "body": response.body, "more_body": False})
