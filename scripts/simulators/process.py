"""One simulator as one process: listens on loopback without `--host`, and ends within a second."""

import argparse
import asyncio
import os
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from scripts.simulators import books

HOST = "127.0.0.1"
"""Where it listens by default: only this machine reaches it."""
BACKLOG = 4096
"""Connections that may wait to be taken."""
IDLE_SECONDS = 3600
"""Between two requests of a connection: the shop's calls are to find it open."""
GRACE_SECONDS = 0.5
"""How long requests under way may go on once the process is told to end."""


def arguments(name: str, *, default_port: int) -> argparse.ArgumentParser:
    """What every simulator can be told on its command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.simulators.{name}", description=f"The {name} simulator."
    )
    parser.add_argument(
        "--host",
        default=HOST,
        help="the address to listen on (%(default)s); 0.0.0.0 is open to other containers and machines, and "
        "simulators need no password",
    )
    parser.add_argument("--port", type=port, default=default_port, help="the port to listen on (%(default)s)")
    book = Path("var", f"{name}.sqlite3")
    parser.add_argument(
        "--book", type=Path, default=book, help="the SQLite file that remembers everything (%(default)s)"
    )
    return parser


def add_number(
    parser: argparse.ArgumentParser, option: str, variable: str, default: str, *, most: float, means: str
) -> None:
    """An option from 0 to `most`, which may be set in the environment as well."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is out of bounds: choose from 0 to {most:g}")
        return value

    parser.add_argument(
        option,
        type=number,
        default=os.environ.get(variable, default),
        help=f"{means} ({variable}, else {default})",
    )


def port(text: str) -> int:
    """A TCP port, from the command line."""
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{number} is no port: choose from 1 to 65535")
    return number


def open_book(name: str, path: Path, schema: str) -> books.Book:
    """Open the book, or end the process with exit code 1 and one line."""
    try:
        return books.open_book(path, schema)
    except (OSError, sqlite3.Error) as error:
        fail(name, f"can't open the book {path} ({error}); choose another --book")


def serve(
    application: ASGIApp,
    *,
    name: str,
    asked: argparse.Namespace,
    book: books.Book,
    on_start: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Serve until SIGTERM or SIGINT, then close the book and end the process with exit code 0.

    `on_start` is called in the event loop before the first request. When the port is taken or the server
    fails, the process ends with exit code 1 and one line on stderr.
    """
    listener = _bind(name, asked.host, asked.port)
    try:
        _Server(application, name=name, book=book, on_start=on_start).run([listener])
    except Exception as error:
        fail(name, f"the server ended ({error}); start it again")
    fail(name, "the server ended; start it again")


def fail(name: str, message: str) -> NoReturn:
    """End the process with exit code 1 and one line that says what is wrong."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def _bind(name: str, host: str, port: int) -> socket.socket:
    """A socket that is not listened on yet."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        advice = "stop what does, or choose another --port"
        fail(name, f"can't listen on {host}:{port} ({error.strerror}): {advice}")
    return listener


class _Server(uvicorn.Server):
    """The server, in this process rather than in a worker of its own: kill -9 leaves nothing on the port."""

    def __init__(
        self, application: ASGIApp, *, name: str, book: books.Book, on_start: Callable[[], None]
    ) -> None:
        config = uvicorn.Config(
            application,
            interface="asgi3",
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_SECONDS,
        )
        super().__init__(config)
        self._name, self._book, self._on_start = name, book, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_start()
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
        self._book.close()
        # Not by unwinding: that would answer 500 to those who wait for a reply that never comes.
        os._exit(0)
