"""One simulator as one process: listens on loopback without `--host`, and ends within a second."""

import argparse
import asyncio
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from scripts.simulators import books
from scripts.simulators.asgi import Application

HOST = "127.0.0.1"
"""Where it listens by default: only this machine reaches it."""
CONNECTIONS = 4096
"""Open connections taken at once; those that wait for a reply that never comes count."""
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
    parser.add_argument(
        "--book",
        type=Path,
        default=Path("var", f"{name}.sqlite3"),
        help="the SQLite file that remembers everything (%(default)s)",
    )
    return parser


def open_book(name: str, path: Path, schema: str) -> books.Book:
    """Open the book, or end the process with exit code 1 and one line."""
    try:
        return books.open_book(path, schema)
    except (OSError, sqlite3.Error) as error:
        fail(name, f"can't open the book {path} ({error}); choose another --book")


def serve(
    application: Application,
    *,
    name: str,
    host: str,
    port: int,
    book: books.Book,
    on_start: Callable[[], None],
) -> NoReturn:
    """Serve until SIGTERM or SIGINT, then close the book and end the process with exit code 0.

    `on_start` is called in the event loop before the first request. When the port is taken or the server
    fails, the process ends with exit code 1 and one line on stderr.
    """
    _refuse_taken_port(name, host, port)
    error = asyncio.run(_serve_until_told(application, name, (host, port), book, on_start))
    fail(name, f"the server ended ({error}); start it again")


def fail(name: str, message: str) -> NoReturn:
    """End the process with exit code 1 and one line that says what is wrong."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def _refuse_taken_port(name: str, host: str, port: int) -> None:
    """granian shares its port (SO_REUSEPORT) with whoever does the same, so a second simulator would quietly
    get half of the first one's requests. A socket that doesn't share finds out."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            fail(
                name,
                f"can't listen on {host}:{port} ({error.strerror}): stop what does, or choose another --port",
            )


async def _serve_until_told(
    application: Application,
    name: str,
    address: tuple[str, int],
    book: books.Book,
    on_start: Callable[[], None],
) -> BaseException | None:
    """Return only when the server ends without being told to: the error that ended it."""
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    host, port = address
    server = _server(application, host, port)
    on_start()
    serving = asyncio.ensure_future(server.serve())
    ending = asyncio.ensure_future(told_to_end.wait())
    print(f"{name}: listening on http://{host}:{port}", flush=True)
    await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        return serving.exception()
    server.stop()
    await asyncio.wait({serving}, timeout=GRACE_SECONDS)
    book.close()
    # Not by unwinding: that would answer 500 to those who wait for a reply that never comes.
    os._exit(0)


def _server(application: Application, host: str, port: int) -> Server:
    """The server, in this process rather than in a worker of its own: kill -9 leaves nothing on the port."""
    return Server(
        application,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        log_level=LogLevels.error,
    )


def port(text: str) -> int:
    """A TCP port, from the command line."""
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{number} is no port: choose from 1 to 65535")
    return number
