"""A worker: a process that serves the application with uvicorn."""

import asyncio
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from django.conf import settings

from shop.observability import logs, process_metrics
from shop.server.acceptor import Acceptor, ConnectionCounts
from shop.server.connections import Connections, open_connections
from shop.server.protocol import Protocol
from shop.server.supervisor import READY

OPEN_FILES_FOR_CONNECTIONS = 0.9
"""The rest is for the database, Redis and logs."""
SWEEP_SECONDS_AT_STOP = 0.1
PROCESS_EXIT_SECONDS = 1
"""Of the time to stop: for the process to end once its requests have been answered."""
start_callbacks: list[Callable[[], None]] = []
"""Called once in a worker that begins to serve, and not where the application is merely loaded."""
stop_callbacks: list[Callable[[], None]] = []
"""Called in the event loop of a worker that begins to stop, to end pending waits."""


@dataclass(frozen=True)
class Places:
    """What a worker gets from its supervisor, which has ended once the other end of `lifeline` is closed."""

    listener: socket.socket
    counts: int
    slot: int = 0
    lifeline: socket.socket | None = None

    @classmethod
    def inherited(cls, text: str) -> "Places":
        """Parse what the supervisor passed on the command line: descriptors and the slot."""
        listener, counts, lifeline, slot = map(int, text.split(","))
        return cls(socket.socket(fileno=listener), counts, slot, socket.socket(fileno=lifeline))


def serve(application: str, places: Places, *, stop_seconds: int) -> None:
    """Serve in this process until a signal to stop; then end in time, even with requests in progress."""
    config = uvicorn.Config(
        application,
        interface="asgi3",
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_graceful_shutdown=max(stop_seconds - PROCESS_EXIT_SECONDS, 1),
    )
    config.load()
    logs.write_in_background()
    Server(config, places).run()


class Server(uvicorn.Server):
    """A worker's uvicorn server: serves until a signal to stop, or until its supervisor has ended."""

    def __init__(self, config: uvicorn.Config, places: Places) -> None:
        super().__init__(config)
        self.server_state: Connections = Connections(
            most=int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * OPEN_FILES_FOR_CONNECTIONS),
            most_per_address=None if settings.TRUSTED_PROXIES else settings.CONNECTIONS_PER_ADDRESS,
        )
        self._places = places

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        loop = asyncio.get_running_loop()
        self._acceptor = Acceptor(
            self._places.listener,
            lambda: Protocol(self.config, self.server_state, {}, loop),
            counts=ConnectionCounts(self._places.counts),
            slot=self._places.slot,
            open_connections=self.server_state.connections.__len__,
        )
        self._acceptor.start()
        for begin in start_callbacks:
            begin()
        process_metrics.add_sampler(lambda: open_connections.set(len(self.server_state.connections)))
        if self._places.lifeline is not None:
            loop.add_reader(self._places.lifeline, self._end)
            self._places.lifeline.send(READY)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self.server_state.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.is_stopping = True
        self._acceptor.close()
        self._places.listener.close()
        for end_waiting in stop_callbacks:
            end_waiting()
        sweeping = asyncio.ensure_future(self._keep_sweeping())
        await super().shutdown([])
        sweeping.cancel()
        if self.server_state.tasks:
            await asyncio.sleep(SWEEP_SECONDS_AT_STOP)  # meanwhile cancelled requests are answered

    async def _keep_sweeping(self) -> None:
        while True:
            self.server_state.sweep(asyncio.get_running_loop().time())
            await asyncio.sleep(SWEEP_SECONDS_AT_STOP)

    def _end(self) -> None:
        self.should_exit = True
        if self._places.lifeline is not None:
            asyncio.get_running_loop().remove_reader(self._places.lifeline)
