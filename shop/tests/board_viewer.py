"""A viewer of the launch board for tests: a stream of the ASGI application in this process."""

import asyncio
from typing import Any, NamedTuple

import orjson
from django.contrib.auth.models import User
from django.test import Client

from shop.http.application import application
from shop.http.pages import streams
from shop.tests.asgi_client import request_scope

PATH = "/admin/board/stream/"
PERMISSIONS = ["coupons.view_campaign", "sales.view_sale", "inventory.view_product", "orders.view_order"]


class Event(NamedTuple):
    """An event of the stream."""

    name: str
    data: Any


def session_of(account: User) -> str:
    """The key of a new session of the account."""
    client = Client()
    client.force_login(account)
    return client.cookies["sessionid"].value


class Viewer:
    """One stream on the running event loop, read by `next`; `leave` disconnects."""

    def __init__(self, session_key: str, *, method: str = "GET") -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_complete = False
        """Whether the response has ended as one that is whole does."""
        self.is_paused: asyncio.Event | None = None
        """If it is there, nothing is taken from the connection until it is set."""
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._is_answered, self._left = asyncio.Event(), asyncio.Event()
        self._is_requested = False
        scope = request_scope(method, PATH, headers={"Cookie": f"sessionid={session_key}"})
        self.task = asyncio.ensure_future(application(scope, self._receive, self._send))

    async def answered(self) -> int:
        """The response's status, once there is one."""
        await asyncio.wait_for(self._is_answered.wait(), 10)
        return self.status

    async def next(self, name: str = "", *, seconds: float = 10.0) -> Event:
        """The next event, or the next with this name."""
        async with asyncio.timeout(seconds):
            while True:
                event = await self._events.get()
                if not name or event.name == name:
                    return event

    async def ended(self, *, seconds: float = 10.0) -> None:
        """Wait until the response is complete."""
        await asyncio.wait_for(self.task, seconds)

    async def leave(self) -> None:
        """Disconnect."""
        self._left.set()
        await self.ended()

    async def _receive(self) -> dict[str, Any]:
        if not self._is_requested:
            self._is_requested = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._is_answered.set()
            return
        if self.is_paused:
            await self.is_paused.wait()
        self.body += message["body"]
        self.is_complete = not message.get("more_body", False)
        if self.status == 200:
            self._take_events()

    def _take_events(self) -> None:
        *complete, self.body = self.body.split(b"\n\n")
        for block in complete:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
            if b"event" in fields:
                self._events.put_nowait(Event(fields[b"event"].decode(), orjson.loads(fields[b"data"])))


def serve_streams() -> None:
    """Register the board's stream, as a web process does at its start."""
    from shop.backoffice.board import stream

    streams.register(PATH, stream.serve)
