"""An issuer for tests: `run_issuer` as a process, on the test's database and Redis, to be killed at will."""

import subprocess
import sys
import threading
from contextlib import contextmanager

from coupons.queue import worker
from foundation.tests.second_process import environment
from foundation.tests.waiting import in_background
from scripts.stack import children


class OwnIssuer:
    """Issuer processes, one at a time, with the same log and `settings`, which are environment variables."""

    def __init__(self, folder, **settings):
        self._environment = environment(**settings)
        self._log = folder / "issuer.log"
        self.child: subprocess.Popen[bytes] | None = None

    def start(self):
        """Start it; it settles tickets within seconds."""
        command = [sys.executable, "-m", "django", "run_issuer"]
        self.child = children.start(command, log=self._log, environment=self._environment)

    def kill(self):
        """Kill it as `kill -9` does."""
        assert self.child
        self.child.kill()
        self.child.wait()

    def stop(self) -> int:
        """Stop it by a signal, and return its exit code."""
        assert self.child
        children.stop(self.child)
        return self.child.returncode

    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def settling():
    """An issuer in this process that settles all queues, until the block ends."""
    stop = threading.Event()
    serves = in_background(lambda: worker.serve(stop))
    try:
        yield
    finally:
        stop.set()
        serves.result(timeout=20)
