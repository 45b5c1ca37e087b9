"""The web server: `python -m shop.web_server --port 8000` serves the application by uvicorn.

With several workers a supervisor listens and starts them, each as a process of this module; they take connections
from its socket. A worker that dies is started again. SIGTERM and SIGINT end the server once everything under way
is answered; SIGHUP replaces the workers one after the other, each by one that serves already.

The host's clock is checked before there are workers. A worker that ends before it has served ends the server,
unless another one serves: with a wrong setting each attempt would end like the first.
"""

import argparse
import asyncio
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

import django
import uvicorn
from django.conf import settings
from structlog import get_logger

log = get_logger(__name__)
APPLICATION = "shop.asgi:application"
BACKLOG = 10_240
OPEN_FILES_FOR_CONNECTIONS = 0.9
"""Of all; the rest is for the database, Redis and logs."""
MOST_OPEN_FILES = 2**20
STOP_SECONDS = 35
"""Longer than the longest `Prefer: wait`, which is 30 s."""
KILL_SECONDS = 0.5
"""For a worker to end once its time to stop is over."""
RESPAWN_SECONDS = 0.5
"""Between two starts of a worker."""
LOOK_SECONDS = 0.1
READY = b"r"

before_stop: list[Callable[[], None]] = []
"""Called in the event loop of a worker that begins to stop, to end what waits."""


class Server(uvicorn.Server):
    """A worker: serves until it is told to end, or the other end of `lifeline` is closed."""

    def __init__(self, config: uvicorn.Config, lifeline: socket.socket | None) -> None:
        from shop.http.connections import Connections

        super().__init__(config)
        self.server_state: Connections = Connections(
            most=int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * OPEN_FILES_FOR_CONNECTIONS),
            most_per_address=None if settings.TRUSTED_PROXIES else settings.CONNECTIONS_PER_ADDRESS,
        )
        self._lifeline = lifeline

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._lifeline is not None:
            asyncio.get_running_loop().add_reader(self._lifeline, self._end)
            self._lifeline.send(READY)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self.server_state.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.is_stopping = True
        for end_waiting in before_stop:
            end_waiting()
        sweeping = asyncio.ensure_future(self._keep_sweeping())
        await super().shutdown(sockets)
        sweeping.cancel()
        if self.server_state.tasks:
            await asyncio.sleep(LOOK_SECONDS)  # in which those that are cancelled are answered

    async def _keep_sweeping(self) -> None:
        while True:
            self.server_state.sweep(asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_SECONDS)

    def _end(self) -> None:
        self.should_exit = True
        if self._lifeline is not None:
            asyncio.get_running_loop().remove_reader(self._lifeline)


@dataclass
class Worker:
    """A worker's process, and the end of the lifeline by which it says that it serves."""

    process: "subprocess.Popen[bytes]"
    lifeline: socket.socket
    started_at: float = field(default_factory=time.monotonic)
    is_serving: bool = False
    killed_at: float | None = None

    def look(self) -> None:
        """See whether it serves by now."""
        if not self.is_serving:
            with suppress(BlockingIOError):
                self.is_serving = self.lifeline.recv(1) == READY

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, *, within_seconds: float) -> None:
        """Tell it to end; it is killed when the time is over."""
        if self.killed_at is None:
            self.killed_at = time.monotonic() + within_seconds
            self.process.terminate()

    def kill_if_late(self) -> None:
        if self.killed_at is not None and time.monotonic() >= self.killed_at:
            self.process.kill()


class Supervisor:
    """Keeps as many workers serving as there are to be."""

    def __init__(self, listener: socket.socket, options: argparse.Namespace) -> None:
        self._listener, self._options = listener, options
        self._stop_seconds = options.stop_seconds + KILL_SECONDS
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []
        self._to_replace: list[Worker] = []
        self._replacement: Worker | None = None
        self._is_stopping = False
        self._exit_code = 0

    def run(self) -> NoReturn:
        """Return, with the process, when all workers have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGHUP, lambda *_: self._replace_all())
        self._workers = [self._start() for _ in range(self._options.workers)]
        while self._workers or self._leaving or self._replacement:
            time.sleep(LOOK_SECONDS)
            self._look()
        sys.exit(self._exit_code)

    def _look(self) -> None:
        self._leaving = [worker for worker in self._leaving if worker.is_alive()]
        for worker in [*self._workers, *self._leaving, *filter(None, [self._replacement])]:
            worker.look()
            worker.kill_if_late()
        if self._is_stopping:
            self._workers = [worker for worker in self._workers if worker.is_alive()]
            return
        self._workers = [worker if worker.is_alive() else self._after(worker) for worker in self._workers]
        if not self._is_stopping:
            self._go_on_replacing()

    def _after(self, dead: Worker) -> Worker:
        """A new worker in the place of one that ended, or that one again while it is too early for it."""
        if not dead.is_serving and not any(one.is_serving and one.is_alive() for one in self._workers):
            self._exit_code = dead.process.returncode if dead.process.returncode > 0 else 1
            self._stop()
            return dead
        if time.monotonic() - dead.started_at < RESPAWN_SECONDS:
            return dead
        log.warning(
            "a web worker ended; starting another", pid=dead.process.pid, code=dead.process.returncode
        )
        return self._start()

    def _go_on_replacing(self) -> None:
        """Have one worker at a time replaced by one that serves, and wait until it has ended."""
        new = self._replacement
        if new is None:
            self._to_replace = [worker for worker in self._to_replace if worker in self._workers]
            if self._to_replace and not self._leaving:
                self._replacement = self._start()
        elif not new.is_alive():
            log.error("the new web worker did not start; the others stay", code=new.process.returncode)
            self._replacement, self._to_replace = None, []
        elif new.is_serving:
            self._replacement = None
            if not self._to_replace or self._to_replace[0] not in self._workers:
                new.stop(within_seconds=self._stop_seconds)
                self._leaving.append(new)
                return
            old = self._to_replace.pop(0)
            self._workers[self._workers.index(old)] = new
            old.stop(within_seconds=self._stop_seconds)
            self._leaving.append(old)

    def _replace_all(self) -> None:
        self._to_replace = list(self._workers)

    def _stop(self) -> None:
        self._is_stopping = True
        self._listener.close()
        for worker in [*self._workers, *self._leaving, *filter(None, [self._replacement])]:
            worker.stop(within_seconds=self._stop_seconds)
        if self._replacement is not None:
            self._leaving.append(self._replacement)
            self._replacement = None

    def _start(self) -> Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            numbers = self._listener.fileno(), theirs.fileno()
            words = ["--listener", str(numbers[0]), "--lifeline", str(numbers[1])]
            process = subprocess.Popen(
                [sys.executable, "-m", "shop.web_server", *sys.argv[1:], *words], pass_fds=numbers
            )
        return Worker(process, ours)


def main() -> None:
    options = _options()
    _allow_many_connections()
    django.setup()
    # uvicorn raises the signal that ended it once more when all is answered.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    if options.listener is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        serve(options, socket.socket(fileno=options.listener), socket.socket(fileno=options.lifeline))
        return
    from shop import clock

    clock.refuse_skewed_host()
    listener = _listen(options.host, options.port)
    if options.workers == 1:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        serve(options, listener, None)
    else:
        Supervisor(listener, options).run()


def serve(options: argparse.Namespace, listener: socket.socket, lifeline: socket.socket | None) -> None:
    """Serve in this process until it is told to end."""
    from shop.http.protocol import Protocol

    config = uvicorn.Config(
        options.application,
        interface="asgi3",
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        backlog=BACKLOG,
        timeout_graceful_shutdown=options.stop_seconds,
    )
    config.load()
    Server(config, lifeline).run([listener])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shop.web_server", description="The web server.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that serve (%(default)s)")
    parser.add_argument(
        "--stop-seconds",
        type=float,
        default=STOP_SECONDS,
        help="how long requests under way may go on once the server is told to end (%(default)s)",
    )
    parser.add_argument("--application", default=APPLICATION, help=argparse.SUPPRESS)
    parser.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, or the end of the process with exit code 1 and one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        sys.exit(
            f"web: can't listen on {host}:{port} ({error.strerror}): stop what does, or choose another port"
        )


def _allow_many_connections() -> None:
    """Each connection is an open file, and the usual limit of 1024 is fewer than the clients of a sale."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
