"""The process that opens the listening socket and keeps worker processes running."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from prometheus_client import multiprocess
from structlog import get_logger

from shop.server.acceptor import ConnectionCounts

log = get_logger(__name__)
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
RESPAWN_SECONDS, POLL_SECONDS = 0.5, 0.1
READY = b"r"
"""The byte that a worker sends through its lifeline once it serves."""


@dataclass
class _Worker:
    """A worker process, its slot, and our end of its lifeline: a socket on which it reports readiness."""

    process: "subprocess.Popen[bytes]"
    lifeline: socket.socket
    slot: int
    started_at: float = field(default_factory=time.monotonic)
    is_serving: bool = False
    killed_at: float | None = None

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def refresh(self) -> None:
        """Check whether it serves by now, and kill it if its time to stop is over."""
        if not self.is_serving:
            with suppress(BlockingIOError, ConnectionError):
                self.is_serving = self.lifeline.recv(1) == READY
        if self.killed_at is not None and time.monotonic() >= self.killed_at:
            self.process.kill()

    def stop(self, *, within_seconds: float) -> None:
        """Ask it to stop; it is killed when the time is over."""
        if self.killed_at is None:
            self.killed_at = time.monotonic() + within_seconds
            self.process.terminate()


class Supervisor:
    def __init__(
        self, listener: socket.socket, command: Sequence[str], *, workers: int, stop_seconds: float
    ) -> None:
        """`command` starts a worker; `--places`, which `worker.Places.inherited` parses, is added to it.

        A worker that is asked to stop is killed after `stop_seconds`.
        """
        self._listener, self._command = listener, command
        self._wanted, self._stop_seconds = workers, stop_seconds
        # Each worker may have a replacement that is starting.
        self._counts_file = ConnectionCounts.create(slots=2 * workers)
        self._counts = ConnectionCounts(self._counts_file)
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._to_replace: list[_Worker] = []
        self._replacement: _Worker | None = None
        self._received: set[int] = set()
        self._is_stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Run until all workers have ended; return the exit code, which is 0 after a signal to stop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._received.add(number))
        for _ in range(self._wanted):
            # One by one, because the next one's slot depends on those before it.
            self._workers.append(self._start())
        while self._all_workers():
            time.sleep(POLL_SECONDS)
            if self._received & {signal.SIGTERM, signal.SIGINT}:
                self._stop()
            elif signal.SIGHUP in self._received:
                self._to_replace = list(self._workers)
            self._received.clear()
            self._refresh()
            if not self._is_stopping:
                self._replace_dead()
                self._continue_replacement()
        return self._exit_code

    def _refresh(self) -> None:
        for worker in self._all_workers():
            worker.refresh()
            if not worker.is_alive():
                self._counts.withdraw(worker.slot)
                if METRICS_FOLDER in os.environ:
                    multiprocess.mark_process_dead(worker.slot)
        self._leaving = [worker for worker in self._leaving if worker.is_alive()]
        if self._is_stopping:
            self._workers = [worker for worker in self._workers if worker.is_alive()]

    def _replace_dead(self) -> None:
        for position, worker in enumerate(self._workers):
            if worker.is_alive():
                continue
            code = worker.process.returncode
            if not worker.is_serving and not any(
                other.is_serving and other.is_alive() for other in self._workers
            ):
                self._exit_code = code if code > 0 else 1
                self._stop()
                return
            if time.monotonic() - worker.started_at >= RESPAWN_SECONDS:
                log.warning("a web worker ended; starting another", pid=worker.process.pid, code=code)
                self._workers[position] = self._start()

    def _continue_replacement(self) -> None:
        """Replace one worker at a time: start a new one, wait until it serves, then stop the old one."""
        new = self._replacement
        if new is None:
            # A worker that died meanwhile has been replaced.
            self._to_replace = [worker for worker in self._to_replace if worker in self._workers]
            if self._to_replace and not self._leaving:
                self._replacement = self._start()
        elif not new.is_alive():
            log.error("a new web worker did not start; the others stay", code=new.process.returncode)
            self._replacement, self._to_replace = None, []
        elif new.is_serving:
            old = next((worker for worker in self._to_replace if worker in self._workers), None)
            if old is None:
                old = new
            else:
                self._to_replace.remove(old)
                self._workers[self._workers.index(old)] = new
            self._replacement = None
            self._leaving.append(old)
            old.stop(within_seconds=self._stop_seconds)

    def _stop(self) -> None:
        self._is_stopping = True
        self._listener.close()
        for worker in self._all_workers():
            worker.stop(within_seconds=self._stop_seconds)
        if self._replacement is not None:
            self._leaving.append(self._replacement)
            self._replacement = None

    def _start(self) -> _Worker:
        slot = self._counts.free_slot(worker.slot for worker in self._all_workers())
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        descriptors = self._listener.fileno(), self._counts_file, theirs.fileno()
        places = ",".join(map(str, (*descriptors, slot)))
        with theirs:
            process = subprocess.Popen([*self._command, "--places", places], pass_fds=descriptors)
        return _Worker(process, ours, slot)

    def _all_workers(self) -> list[_Worker]:
        return [*self._workers, *self._leaving, *filter(None, [self._replacement])]
