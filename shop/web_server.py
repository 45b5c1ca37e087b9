"""The web server: `python -m shop.web_server --port 8000` serves the application by uvicorn.

A supervisor starts the workers, each as a process of this module, and restarts one that dies, unless it ended
before any served. SIGTERM and SIGINT end the server once all requests in progress are answered; SIGHUP
replaces the workers one after the other. A server with one worker is one process, which SIGHUP ends.
"""

import argparse
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import django
from prometheus_client import values

MOST_OPEN_FILES = 2**20
STOP_SECONDS = 35
"""For all requests in progress: waiting ones are answered at once, the others have a second less."""


def main() -> None:
    options = _options()
    _allow_many_connections()
    _count_in_files_of_slot(options.places)
    # uvicorn raises the signal that ended it again after its shutdown.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: sys.exit(0))
    django.setup()
    # These modules need the settings.
    from shop import clock
    from shop.server import acceptor, supervisor, worker

    if options.places:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        places = worker.Places.inherited(options.places)
        worker.serve(options.application, places, stop_seconds=options.stop_seconds)
        return
    clock.refuse_skewed_host()
    listener = _listen(options.host, options.port)
    if options.workers == 1:
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
        places = worker.Places(listener, acceptor.ConnectionCounts.create(slots=1))
        worker.serve(options.application, places, stop_seconds=options.stop_seconds)
    else:
        command = [sys.executable, "-m", "shop.web_server", *sys.argv[1:]]
        keeping = supervisor.Supervisor(
            listener, command, workers=options.workers, stop_seconds=options.stop_seconds
        )
        sys.exit(keeping.run())


def _count_in_files_of_slot(places: str | None) -> None:
    """Have the metrics of this process in the files of its worker's slot rather than of its id.

    So restarts don't fill the folder, which is in memory. The files of an earlier server are removed.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    if places is None:
        for path in Path(folder).glob("*.db"):
            path.unlink(missing_ok=True)
    slot = places.rpartition(",")[2] if places else "first"
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shop.web_server", description="The web server.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that serve (%(default)s)")
    parser.add_argument(
        "--stop-seconds",
        type=int,
        default=STOP_SECONDS,
        help="seconds for a graceful shutdown; requests have a second less (%(default)s)",
    )
    parser.add_argument("--application", default="shop.asgi:application", help=argparse.SUPPRESS)
    parser.add_argument("--places", help=argparse.SUPPRESS)
    return parser.parse_args()


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Ends the process with exit code 1 and a message if it can't be bound."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        sys.exit(
            f"web: can't listen on {host}:{port} ({error.strerror}): stop the process that does, or choose "
            "another port"
        )
    return listener


def _allow_many_connections() -> None:
    """Raise the limit of open files: each connection is one, and a sale has more clients than 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
