"""The web server: `python -m shop.web_server --port 8000` serves the application by uvicorn.

With several workers a supervisor listens and starts them, each as a process of this module; they take
connections from its socket. A worker that dies is started again. SIGTERM and SIGINT end the server once
everything under way is answered; SIGHUP replaces the workers one after the other, each by one that serves
already. A server of one worker is one process, which SIGHUP ends.

The host's clock is checked before there are workers. A worker that ends before it has served ends the server,
unless another one serves: with a wrong setting each attempt would end like the first.
"""

import argparse
import resource
import signal
import socket
import sys

import django

APPLICATION = "shop.asgi:application"
MOST_OPEN_FILES = 2**20
STOP_SECONDS = 35
"""For all that is under way: what waits is answered at once, other requests have a second less."""


def main() -> None:
    options = _options()
    _allow_many_connections()
    # uvicorn raises the signal that ended it once more when all is answered.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: sys.exit(0))
    django.setup()
    # What the server is made of needs the settings.
    from shop import clock
    from shop.server import supervisor, worker

    if options.places:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        places = worker.Places.inherited(options.places)
        worker.serve(options.application, places, stop_seconds=options.stop_seconds)
        return
    clock.refuse_skewed_host()
    listener = _listen(options.host, options.port)
    if options.workers == 1:
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
        worker.serve(options.application, worker.Places.alone(listener), stop_seconds=options.stop_seconds)
    else:
        command = [sys.executable, "-m", "shop.web_server", *sys.argv[1:]]
        keeping = supervisor.Supervisor(
            listener, command, workers=options.workers, stop_seconds=options.stop_seconds
        )
        sys.exit(keeping.run())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shop.web_server", description="The web server.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that serve (%(default)s)")
    parser.add_argument(
        "--stop-seconds",
        type=int,
        default=STOP_SECONDS,
        help="within which the server ends once it is told to; requests have a second less (%(default)s)",
    )
    parser.add_argument("--application", default=APPLICATION, help=argparse.SUPPRESS)
    parser.add_argument("--places", help=argparse.SUPPRESS)
    return parser.parse_args()


def _listen(host: str, port: int) -> socket.socket:
    """A socket at that address, or the end of the process with exit code 1 and one line.

    Workers listen when they serve. Until then clients are refused, instead of waiting for nothing.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        sys.exit(
            f"web: can't listen on {host}:{port} ({error.strerror}): stop what does, or choose another port"
        )
    return listener


def _allow_many_connections() -> None:
    """Each connection is an open file, and the usual limit of 1024 is fewer than the clients of a sale."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
