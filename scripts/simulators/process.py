"""A simulator as a server, on Starlette and uvicorn: checked requests, JSON answers, and the process
itself."""

import argparse
import asyncio
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
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

LARGEST_BODY = 64 * 1024
"""What a request may bring where nothing else is said."""
HOLD_SECONDS = 60
"""How long a reply that never comes keeps its connection open, when the client doesn't leave before."""
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
KEY = re.compile(r"[\x20-\x7e]{1,255}")
LARGEST_AMOUNT = 10**12
"""Millions of charges of this size still add up within SQLite's 64 bits."""
HOST = "127.0.0.1"
"""Where it listens by default: only this machine reaches it."""
BACKLOG = 4096
"""Connections that may wait to be taken."""
IDLE_SECONDS = 3600
"""Between two requests of a connection: the shop's calls are to find it open."""
GRACE_SECONDS = 0.5
"""How long requests under way may go on once the process has to end."""
_background: set[asyncio.Task[Any]] = set()


class Answer(JSONResponse):
    """A status and the JSON that goes with it."""

    def __init__(
        self, status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status, headers)

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class NoReply(Answer):
    """A reply that never comes: the client waits, and after a long while gets 504, as of a proxy."""

    def __init__(self, hold_seconds: float = HOLD_SECONDS) -> None:
        super().__init__(504, {"code": "no_reply", "detail": "The reply never came."})
        self.hold_seconds = hold_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.hold_seconds):
                while (await receive())["type"] != "http.disconnect":
                    continue
        except TimeoutError:
            await super().__call__(scope, receive, send)


class Refused(Exception):
    """A request that ends with an error: its status, a code for programs, a sentence for people."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.answer = Answer(status, {"code": code, "detail": detail, **more})


Handler = Callable[[Request], Awaitable[Response]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Path, then method, to the function that answers."""


def application(routes: Routes) -> Starlette:
    """The ASGI application of these routes. It answers JSON, but for pages, and shows no traceback."""
    paths = {"/healthz": {"GET": _health}, **routes}
    app = Starlette(
        routes=[Route(path, _endpoint(handlers), methods=METHODS) for path, handlers in paths.items()],
        exception_handlers={Refused: _refused, HTTPException: _not_found, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return app


def _endpoint(handlers: Mapping[str, Handler]) -> Handler:
    async def answer(request: Request) -> Response:
        if handler := handlers.get(request.method):
            return await handler(request)
        allowed = ", ".join(handlers)
        content = {"code": "method_not_allowed", "detail": f"This path takes {allowed}."}
        return Answer(405, content, {"allow": allowed})

    return answer


async def _health(request: Request) -> Answer:
    return Answer(200, {"status": "ok"})


async def _refused(request: Request, error: Exception) -> Answer:
    assert isinstance(error, Refused)
    return error.answer


async def _not_found(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    paths = ", ".join(route.path for route in request.app.routes)
    detail = f"There is nothing at this path. There is {paths}."
    return Answer(error.status_code, {"code": "not_found", "detail": detail})


async def _failed(request: Request, error: Exception) -> Answer:
    return Answer(500, {"code": "internal_error", "detail": "The simulator failed; its log says why."})


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


def _instant(value: str) -> str:
    moment(value)
    return value


Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Amount = Annotated[int, Field(ge=1, le=LARGEST_AMOUNT)]
"""In the currency's minor unit."""
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Instant = Annotated[Text, AfterValidator(_instant)]
"""An RFC 3339 time with its offset, kept as it was sent."""


class Body(BaseModel):
    """The fields of a request's JSON object."""

    model_config = ConfigDict(strict=True, frozen=True)


Form = TypeVar("Form", bound=Body)


async def read(request: Request, form: type[Form]) -> Form:
    """The request's body. Raises Refused naming the field that is wrong."""
    return checked(parsed(await read_body(request)), form)


async def read_body(request: Request, *, largest: int = LARGEST_BODY) -> bytes:
    """The whole body. Raises Refused as soon as it is too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise Refused(413, "too_large", f"The body is over {largest} bytes.")
    return bytes(body)


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in the body. Raises Refused."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "malformed_json", f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise Refused(400, "invalid", "The body is not a JSON object.")
    return fields


def checked(fields: Mapping[str, Any], form: type[Form]) -> Form:
    """The fields as the form has them. Raises Refused naming the first that is wrong."""
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(".".join(map(str, first["loc"])), first["msg"]) from error


def idempotency_key(request: Request) -> str:
    """The key in the request's header. Raises Refused."""
    key = request.headers.get("idempotency-key")
    if not key:
        raise Refused(400, "idempotency_key_missing", "Send an Idempotency-Key header.")
    if not KEY.fullmatch(key):
        detail = "An Idempotency-Key is 1-255 printable ASCII characters."
        raise Refused(400, "idempotency_key_invalid", detail)
    return key


def invalid(name: str, why: str) -> Refused:
    """The refusal of a field that is not what it must be."""
    return Refused(400, "invalid", f"`{name}`: {why}.", field=name)


def arguments(name: str, *, default_port: int) -> argparse.ArgumentParser:
    """The options that every simulator has."""
    command = f"python -m scripts.simulators.{name}"
    parser = argparse.ArgumentParser(prog=command, description=f"The {name} simulator.")
    listen = "the address to listen on (%(default)s); 0.0.0.0 is open to other containers and machines, and "
    parser.add_argument("--host", default=HOST, help=f"{listen}simulators need no password")
    parser.add_argument("--port", type=port, default=default_port, help="the port to listen on (%(default)s)")
    book, means = Path("var", f"{name}.sqlite3"), "the SQLite file that remembers everything (%(default)s)"
    parser.add_argument("--book", type=Path, default=book, help=means)
    return parser


def add_number(
    parser: argparse.ArgumentParser, option: str, variable: str, default: str, *, most: float, means: str
) -> None:
    """An option from 0 to `most`, which may be set in the environment as well if it has a variable there."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is out of bounds: choose from 0 to {most:g}")
        return value

    words = f"{means} ({variable and f'{variable}, else '}{default})"
    parser.add_argument(option, type=number, default=os.environ.get(variable, default), help=words)


def port(text: str) -> int:
    """A TCP port, from the command line."""
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{number} is no port: choose from 1 to 65535")
    return number


def fail(name: str, message: str) -> NoReturn:
    """End the process with exit code 1 and one line that says what is wrong."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


class Server(uvicorn.Server):
    """The server, in this process rather than in a worker of its own: kill -9 leaves nothing on the port."""

    def __init__(
        self, name: str, routes: Routes, book: sqlite3.Connection, on_start: Callable[[], None] = lambda: None
    ) -> None:
        config = uvicorn.Config(
            application(routes),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_SECONDS,
        )
        super().__init__(config)
        self._name, self.book, self.on_start = name, book, on_start

    def serve_forever(self, host: str, port: int) -> NoReturn:
        """Serve until SIGTERM or SIGINT, then close the book and end the process with exit code 0.

        `on_start` is called in the event loop before the first request. When the port is taken or the server
        fails, the process ends with exit code 1 and one line on stderr.
        """
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            advice = "stop what does, or choose another --port"
            fail(self._name, f"can't listen on {host}:{port} ({error.strerror}): {advice}")
        try:
            self.run([listener])
        except Exception as error:
            fail(self._name, f"the server ended ({error}); start it again")
        fail(self._name, "the server ended; start it again")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.on_start()
        for listener in sockets or []:
            host, port = listener.getsockname()
            print(f"{self._name}: listening on http://{host}:{port}", flush=True)
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
