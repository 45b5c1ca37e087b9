"""A simulator as a server, on Starlette and uvicorn: checked requests, JSON answers, and the process."""

import argparse
import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import uvicorn
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HOLD_SECONDS = 60  # How long a reply that never comes keeps its connection open
GRACE_SECONDS = 0.5  # How long requests under way may go on once the process has to end
# uvicorn's; the shop's calls are to find their connection open.
OPTIONS: dict[str, Any] = {"access_log": False, "timeout_keep_alive": 3600}
_background: set[asyncio.Task[Any]] = set()


class Answer(Response):
    media_type = "application/json"

    def __init__(self, status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None):
        super().__init__(orjson.dumps(content), status, headers)


async def no_reply() -> Answer:
    """A reply that never comes: the client waits, and after a long while gets 504, as of a proxy."""
    await asyncio.sleep(HOLD_SECONDS)
    return Answer(504, {"code": "no_reply", "detail": "The reply never came."})


class Refused(HTTPException):
    """A request that ends with an error: its status, a code for programs, a sentence for people."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(status, detail)
        self.content = {"code": code, "detail": detail, **more}


Json = dict[str, Any]
Served = tuple[Starlette, argparse.Namespace]  # An application, and what its command line asks for
Handler = Callable[[Request], Awaitable[Response]]
Routes = Mapping[str, Handler]  # `METHOD /path` to the function that answers


def application(routes: Routes, book: Any, on_start: Callable[[], None] = lambda: None) -> Starlette:
    """The ASGI application of these routes; `on_start` is called before the first request."""

    async def health(request: Request) -> Answer:
        return Answer(200, {"status": "ok"})

    async def refused(request: Request, error: Any) -> Answer:
        unknown = {"code": "not_found", "detail": f"There is nothing here. There is {', '.join(routes)}."}
        return Answer(error.status_code, getattr(error, "content", unknown), error.headers)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        on_start()
        yield

    served = []
    for name, handler in {"GET /healthz": health, **routes}.items():
        method, path = name.split()
        served.append(Route(path, handler, methods=[method]))
    app = Starlette(routes=served, exception_handlers={HTTPException: refused}, lifespan=lifespan)
    app.state.book = book
    return app


def in_background(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start the work, which goes on when its client leaves. The event loop keeps no reference to a task."""
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
    return task


def moment(value: str) -> datetime:
    """The instant that an RFC 3339 time with its offset names. Raises ValueError or OverflowError."""
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError("a time needs its offset, such as Z")
    return read.astimezone(UTC)


Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
# In the currency's minor unit; millions of the largest still add up within SQLite's 64 bits.
Amount = Annotated[int, Field(ge=1, le=10**12)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
# An RFC 3339 time with its offset, kept as it was sent.
Instant = Annotated[Text, AfterValidator(lambda value: moment(value) and value)]


class Body(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Cancellation(Body):
    key: Text


Form = TypeVar("Form", bound=Body)


async def read(request: Request, form: type[Form]) -> Form:
    """The request's body. Raises Refused naming the first field that is wrong."""
    try:
        return form.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(".".join(map(str, first["loc"])) or "body", first["msg"]) from error


async def keyed(request: Request, form: type[Form]) -> tuple[str, Form]:
    """The key in the request's header, and its body. Raises Refused."""
    key = request.headers.get("idempotency-key", "")
    if not re.fullmatch(r"[\x20-\x7e]{1,255}", key):
        raise invalid("Idempotency-Key", "it must have 1 to 255 printable ASCII characters")
    return key, await read(request, form)


def invalid(name: str, why: str) -> Refused:
    return Refused(400, "invalid", f"`{name}`: {why}.", field=name)


def arguments(name: str, port: int) -> argparse.ArgumentParser:
    shown = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(prog=f"python -m scripts.simulators.{name}", formatter_class=shown)
    means = "the address to listen on; on 0.0.0.0 others reach it, and it needs no password"
    parser.add_argument("--host", default="127.0.0.1", help=means)
    parser.add_argument("--port", type=int, default=port, help="the port to listen on")
    book = Path("var", f"{name}.sqlite3")
    parser.add_argument("--book", type=Path, default=book, help="the SQLite file that remembers everything")
    return parser


class Server(uvicorn.Server):
    """In this process rather than in a worker of its own: kill -9 leaves nothing on the port."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the process once the requests under way are answered, or their time is over."""
        if self.server_state.tasks:
            await asyncio.wait({*self.server_state.tasks}, timeout=GRACE_SECONDS)
        # Not by unwinding: that would answer 500 to requests whose reply never comes.
        os._exit(0)


def main(build: Callable[[], Served]) -> None:
    app, asked = build()
    Server(uvicorn.Config(app, host=asked.host, port=asked.port, **OPTIONS)).run()
