"""gunicorn's settings: `python -m gunicorn --config python:shop.web_server --bind 127.0.0.1:8000`.

Its manager imports the application and forks the workers, in which uvicorn serves it. One that dies, or is
silent for half a minute, is replaced. SIGTERM ends the server once its requests are answered; SIGHUP replaces
the workers by others of the same code.
"""

import asyncio
import ctypes
import itertools
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from prometheus_client import multiprocess as worker_files, values
from uvicorn_worker import UvicornWorker

# Each connection is an open file, and the usual limit of 1024 is fewer than the clients of a sale.
most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
METRICS_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
PR_SET_PDEATHSIG = 1


class _InPairs:
    """A transport that writes two parts by one call of the system: uvicorn's head and body."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._first = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._first:
            first = self._first
            self._first = b""
            self._transport.write(first + data)
        elif data:
            self._first = data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._first and not self.is_closing():
            self.write(b"")

    def close(self) -> None:
        self._flush()
        self._transport.close()


class Loop(uvloop.Loop):
    async def create_server(self, protocol_factory: Any, *of: Any, **options: Any) -> Any:
        def make() -> Any:
            protocol = protocol_factory()
            made = protocol.connection_made
            protocol.connection_made = lambda transport: made(_InPairs(transport, self))
            return protocol

        return await super().create_server(make, *of, **options)


class Worker(UvicornWorker):
    CONFIG_KWARGS = {
        "loop": "shop.web_server:Loop",
        "http": "httptools",
        "interface": "asgi3",
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        # Each second, also after the clock of the host was set back, by which uvicorn measures.
        "timeout_notify": float("-inf"),
    }


wsgi_app = "shop.asgi:application"
worker_class = Worker
preload_app = True
backlog = 10_240
# Between two requests of a connection: longer than proxies keep theirs (nginx and AWS 60 s), so that they
# close first. A request that arrives while the server closes gets no response.
keepalive = 75
graceful_timeout = 35
# Malformed requests, of which uvicorn warns, are anyone's to send.
loglevel = "error"
control_socket_disable = True

# In the names of this process's files of metrics instead of its id: restarts then don't fill their folder.
metrics_slot = "manager"
if METRICS_FOLDER:
    for path in Path(METRICS_FOLDER).glob("*.db"):
        path.unlink(missing_ok=True)
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: metrics_slot)


def on_starting(manager: Any) -> None:
    from foundation import clock
    from orders.payment import unreachable

    for refuse in (clock.refuse_skewed_host, unreachable.refuse_to_start):
        # In a process of its own: a connection has a thread, and a process with threads is not forked.
        checking = multiprocessing.get_context("fork").Process(target=refuse)
        checking.start()
        checking.join()
        if checking.exitcode:
            sys.exit(checking.exitcode)


def pre_fork(manager: Any, worker: Any) -> None:
    taken = {other.slot for other in manager.WORKERS.values()}
    worker.slot = next(slot for slot in itertools.count() if slot not in taken)


def post_fork(manager: Any, worker: Any) -> None:
    global metrics_slot
    metrics_slot = str(worker.slot)
    # It ends with the manager, however that ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != worker.ppid:
        sys.exit(1)


def post_worker_init(worker: Any) -> None:
    # uvicorn raises the signal that ended it again after its shutdown.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    if settings.IS_MAKE_RUN and settings.WEB_WORKERS > 1:
        # Its threads run one at a time, and moving between processors costs much.
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[worker.slot % len(processors)]})
    worker.wsgi.start(request_seconds=max(worker.cfg.graceful_timeout - 1, 1))


def child_exit(manager: Any, worker: Any) -> None:
    if METRICS_FOLDER:
        worker_files.mark_process_dead(worker.slot)
