"""TCP ports of this machine: which are free, which accept connections, and what is answered there."""

import atexit
import contextlib
import http.client
import os
import random
import socket
from pathlib import Path

from scripts.stack import SetupError

HOST = "127.0.0.1"
Address = tuple[str, int] | Path  # A host and port, or a unix socket
# Linux gives outgoing connections ports from 32768 up: a server's may be taken when it restarts.
FOR_SERVERS = range(10240, 32768)
HELD = contextlib.ExitStack()
atexit.register(HELD.close)


def parse(text: str, *, following: int = 0) -> int:
    """Read a port number with as many ports after it. Raises SetupError."""
    last = 65535 - following
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= last):
        raise SetupError(f"PORT={text} is not a port: give a number from 1 to {last}")
    return int(text)


def require_free(port: int, *, command: str = "make run") -> None:
    """Raise SetupError when the port can't be listened on."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        what = f"port {port} is in use, or can't be listened on ({os.strerror(error.errno or 0)})"
        raise SetupError(f"{what}: stop what holds it, or choose another with `{command} PORT=…`") from error


def free(count: int = 1) -> int:
    """The first of `count` free ports in a row, of those `FOR_SERVERS`. No other caller gets them meanwhile:
    until this process ends each has a socket that doesn't listen, beside which a server's may be bound."""
    while True:
        # Not the seeded generator of a trial: two trials of one seed would ask for the same ports.
        first = random.SystemRandom().randrange(FOR_SERVERS.start, FOR_SERVERS.stop - count)
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
            for port in range(first, first + count):
                held = opened.enter_context(socket.socket())
                held.bind((HOST, port))
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            HELD.push(opened.pop_all())
            return first


def answers(address: Address) -> bool:
    family = socket.AF_INET
    if isinstance(address, Path):
        family = socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        return client.connect_ex(str(address) if isinstance(address, Path) else address) == 0


def ask(
    port: int, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """The status and text of the answer on loopback. Raises OSError when there is none."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=35)) as connection:
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path} got no whole answer: {error!r}") from error
