"""TCP ports of this machine: which are free, and who answers."""

import contextlib
import errno
import socket

from scripts.stack import SetupError

HOST = "127.0.0.1"


def parse(text: str, *, following: int = 0) -> int:
    """Read a port number that leaves room for as many ports after it. Raises SetupError."""
    last = 65535 - following
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= last:
        raise SetupError(f"PORT={text} is not a port: give a number from 1 to {last}")
    return int(text)


def require_free(port: int) -> None:
    """Raise SetupError when the port can't be listened on."""
    with _listener() as probe:
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            raise SetupError(_refusal(port, error)) from error


def _refusal(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: stop what holds it, or choose another with `make run PORT=…`"
    return f"port {port} can't be listened on ({error.strerror}): choose another with `make run PORT=…`"


def free(count: int = 1) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    while True:
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError, OverflowError):
            first = _bind(opened, 0)
            for port in range(first + 1, first + count):
                _bind(opened, port)
            return first


def _bind(opened: contextlib.ExitStack, port: int) -> int:
    probe = opened.enter_context(_listener())
    probe.bind((HOST, port))
    return int(probe.getsockname()[1])


def _listener() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Connections that ended a moment ago do not make a port taken.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener


def answers(address: tuple[str, int] | str) -> bool:
    """Whether somebody accepts connections there: a host and port, or the path of a unix socket."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(address)
        except OSError:
            return False
        return True
