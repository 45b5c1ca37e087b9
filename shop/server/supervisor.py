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

from shop.server.acceptor import ABSENT, ConnectionCounts

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
    is_outdated: bool = False
    killed_at: float | None = None
    """When it is killed; None unless it was asked to stop."""

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
        self._received: set[int] = set()
        self._start_after = 0.0
        self._is_stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Run until all workers have ended; return the exit code, which is 0 after a signal to stop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._received.add(number))
        for _ in range(self._wanted):
            self._start()
        while self._workers:
            time.sleep(POLL_SECONDS)
            if self._received & {signal.SIGTERM, signal.SIGINT}:
                self._stop()
            elif signal.SIGHUP in self._received:
                for worker in self._workers:
                    worker.is_outdated = True
            self._received.clear()
            for worker in self._workers:
                worker.refresh()
            for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
                self._remove(worker)
            if not self._is_stopping:
                self._keep_number()
        return self._exit_code

    def _remove(self, worker: _Worker) -> None:
        """Forget a worker that has ended. If it was not asked to, and none serves, end the others too."""
        self._workers.remove(worker)
        self._counts.slots[worker.slot] = ABSENT
        if METRICS_FOLDER in os.environ:
            multiprocess.mark_process_dead(worker.slot)
        if worker.killed_at is not None:
            return
        code, pid, staying = worker.process.returncode, worker.process.pid, self._staying()
        if not (worker.is_serving or any(other.is_serving for other in staying)):
            self._exit_code = code if code > 0 else 1
            self._stop()
        elif len(staying) < self._wanted or worker.is_outdated:
            log.warning("a web worker ended; starting another", pid=pid, code=code)
            self._start_after = worker.started_at + RESPAWN_SECONDS
        else:
            log.error("a new web worker did not start; the others stay", code=code)
            for other in staying:
                other.is_outdated = False

    def _keep_number(self) -> None:
        """Start a worker for one that ended. Of outdated ones each stops once another one serves."""
        staying = self._staying()
        outdated = [worker for worker in staying if worker.is_outdated]
        if len(staying) < self._wanted or (outdated and len(self._workers) == self._wanted):
            if time.monotonic() >= self._start_after:
                self._start()
        elif len(staying) > self._wanted and all(worker.is_serving for worker in staying):
            (outdated or staying)[0].stop(within_seconds=self._stop_seconds)

    def _staying(self) -> list[_Worker]:
        """The workers that are not asked to stop."""
        return [worker for worker in self._workers if worker.killed_at is None]

    def _stop(self) -> None:
        self._is_stopping = True
        self._listener.close()
        for worker in self._workers:
            worker.stop(within_seconds=self._stop_seconds)

    def _start(self) -> None:
        slot = min(set(range(len(self._counts.slots))) - {worker.slot for worker in self._workers})
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        descriptors = self._listener.fileno(), self._counts_file, theirs.fileno()
        places = ",".join(map(str, (*descriptors, slot)))
        with theirs:
            process = subprocess.Popen([*self._command, "--places", places], pass_fds=descriptors)
        self._workers.append(_Worker(process, ours, slot))
