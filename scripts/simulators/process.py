"""A simulator as a server, on Starlette and uvicorn: checked requests, JSON answers, and the process."""

import argparse
import asyncio
import contextlib
import os
import re
import socket
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import uvicorn
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

HOLD_SECONDS = 60
"""How long a reply that never comes keeps its connection open, when the client doesn't leave before."""
KEY = re.compile(r"[\x20-\x7e]{1,255}")
BACKLOG = 4096
"""Connections that may wait to be taken."""
IDLE_SECONDS = 3600
"""Between two requests of a connection: the shop's calls are to find it open."""
GRACE_SECONDS = 0.5
"""How long requests under way may go on once the process has to end."""
_background: set[asyncio.Task[Any]] = set()


class Answer(Response):
    """A status and the JSON that goes with it."""

    media_type = "application/json"

    def __init__(self, status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None):
        super().__init__(orjson.dumps(content), status, headers)


class NoReply(Answer):
    """A reply that never comes: the client waits, and after a long while gets 504, as of a proxy."""

    def __init__(self) -> None:
        super().__init__(504, {"code": "no_reply", "detail": "The reply never came."})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                while (await receive())["type"] != "http.disconnect":
                    continue
        await super().__call__(scope, receive, send)


class Refused(Exception):
    """A request that ends with an error: its status, a code for programs, a sentence for people."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.answer = Answer(status, {"code": code, "detail": detail, **more})


Handler = Callable[[Request], Awaitable[Response]]
Routes = Mapping[str, Handler]
"""`METHOD /path` to the function that answers."""


def application(routes: Routes) -> Starlette:
    """The ASGI application of these routes. It answers JSON, but for pages, and shows no traceback."""

    async def health(request: Request) -> Answer:
        return Answer(200, {"status": "ok"})

    async def failed(request: Request, error: Exception) -> Answer:
        if isinstance(error, Refused):
            return error.answer
        if isinstance(error, HTTPException):
            code = "method_not_allowed" if error.status_code == 405 else "not_found"
            detail = f"There is nothing here. There is {', '.join(routes)}."
            return Answer(error.status_code, {"code": code, "detail": detail}, error.headers)
        return Answer(500, {"code": "internal_error", "detail": "The simulator failed; its log says why."})

    named = {"GET /healthz": health, **routes}.items()
    app = Starlette(
        routes=[Route(name.split()[1], handler, methods=name.split()[:1]) for name, handler in named],
        exception_handlers=dict.fromkeys((Refused, HTTPException, Exception), failed),
    )
    app.router.redirect_slashes = False
    return app


def in_background(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start the work, which goes on when its client leaves. The event loop keeps no reference to a task."""
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
    return task


def moment(value: str) -> datetime:
    """The instant that an RFC 3339 time with its offset names. Raises ValueError."""
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError("a time needs its offset, such as Z")
    try:
        return read.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is outside the calendar") from error


Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
# In the currency's minor unit; millions of the largest still add up within SQLite's 64 bits.
Amount = Annotated[int, Field(ge=1, le=10**12)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
# An RFC 3339 time with its offset, kept as it was sent.
Instant = Annotated[Text, AfterValidator(lambda value: moment(value) and value)]


class Body(BaseModel):
    """The fields of a request's JSON object."""

    model_config = ConfigDict(strict=True, frozen=True)


Form = TypeVar("Form", bound=Body)


async def read(request: Request, form: type[Form]) -> Form:
    """The request's body. Raises Refused naming the field that is wrong."""
    return checked(parsed(await request.body()), form)


def parsed(body: bytes) -> Any:
    """The JSON in the body. Raises Refused."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "malformed_json", f"The body is not JSON: {error}.") from error


def checked(content: Any, form: type[Form]) -> Form:
    """The JSON as the form has it. Raises Refused naming the first field that is wrong."""
    try:
        return form.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(".".join(map(str, first["loc"])), first["msg"]) from error


def idempotency_key(request: Request) -> str:
    """The key in the request's header. Raises Refused."""
    key = request.headers.get("idempotency-key", "")
    if not KEY.fullmatch(key):
        detail = "Send an Idempotency-Key of 1-255 printable ASCII characters."
        raise Refused(400, "idempotency_key_invalid", detail)
    return key


def invalid(name: str, why: str) -> Refused:
    """The refusal of a field that is not what it must be."""
    return Refused(400, "invalid", f"`{name}`: {why}.", field=name)


def arguments(name: str, *, default_port: int) -> argparse.ArgumentParser:
    """The options that every simulator has."""
    parser = argparse.ArgumentParser(prog=f"python -m scripts.simulators.{name}")
    listen = "the address to listen on (%(default)s); 0.0.0.0 is open to other containers and machines, and "
    parser.add_argument("--host", default="127.0.0.1", help=f"{listen}simulators need no password")
    parser.add_argument("--port", type=int, default=default_port, help="the port to listen on (%(default)s)")
    book, means = Path("var", f"{name}.sqlite3"), "the SQLite file that remembers everything (%(default)s)"
    parser.add_argument("--book", type=Path, default=book, help=means)
    return parser


def number(*, most: float) -> Callable[[str], float]:
    """The type of an option that is a number from 0 to `most`."""

    def read_number(text: str) -> float:
        if not 0 <= float(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is out of bounds: choose from 0 to {most:g}")
        return float(text)

    return read_number


class Server(uvicorn.Server):
    """The server, in this process rather than in a worker of its own: kill -9 leaves nothing on the port.

    `on_start` is called in the event loop before the first request.
    """

    def __init__(
        self, name: str, routes: Routes, book: sqlite3.Connection, on_start: Callable[[], None] = lambda: None
    ) -> None:
        own: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "ws": "none", "lifespan": "off"}
        own |= {"log_config": None, "log_level": "error", "proxy_headers": False}
        own |= {"backlog": BACKLOG, "timeout_keep_alive": IDLE_SECONDS}
        super().__init__(uvicorn.Config(application(routes), **own))
        self.name, self.book, self.on_start = name, book, on_start

    def serve_forever(self, host: str, port: int) -> NoReturn:
        """Serve until SIGTERM or SIGINT, then close the book and end the process with exit code 0."""
        try:
            listener = socket.create_server((host, port), backlog=BACKLOG)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            advice = "stop what does, or choose another --port"
            sys.exit(f"{self.name}: can't listen on {host}:{port} ({why}): {advice}")
        print(f"{self.name}: listening on http://{host}:{port}", flush=True)
        self.run([listener])
        sys.exit(f"{self.name}: the server ended; start it again")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.on_start()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the process once the requests under way are answered, or their time is over."""
        for server in self.servers:
            server.close()
        if self.server_state.tasks:
            await asyncio.wait({*self.server_state.tasks}, timeout=GRACE_SECONDS)
            await asyncio.sleep(0)  # in which the last response is sent
        self.book.close()
        # Not by unwinding: that would answer 500 to requests whose reply never comes.
        os._exit(0)


def main(build: Callable[[], tuple[Server, argparse.Namespace]]) -> NoReturn:
    """Serve what the command line asks for."""
    server, asked = build()
    server.serve_forever(asked.host, asked.port)
