"""A second worker of the stack, whose wall clock is moved while it works."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.stack import SetupError, children, processes, supervision
from scripts.stack.instance import Instance
from scripts.stack.programs import faketime

JUMP_SECONDS = 300
WORK_SECONDS = 3.0
"""How long the worker works with the right time before its clock jumps."""
START_SECONDS = 60
"""The other faults may keep it from starting: it is started again until it is ready, for so long."""
NODE = "clock-jump"
"""Part of its name in Celery, which has to be another than that of the stack's own worker."""


@contextmanager
def worker_ahead(_: str, instance: Instance) -> Iterator[None]:
    """The worker at work inside the block, its clock five minutes ahead. Raises SetupError."""
    offset_file = instance.run / f"{NODE}.offset"
    with second_worker(instance, offset_file):
        time.sleep(WORK_SECONDS)
        faketime.set_offset(offset_file, JUMP_SECONDS)
        yield


@contextmanager
def second_worker(instance: Instance, offset_file: Path) -> Iterator[None]:
    """The worker at work inside the block, its wall clock that of the file. Raises SetupError.

    It may end by itself, as the stack's own worker may: Celery does at times when it loses Redis. Supervisor
    starts only the latter again.
    """
    child = _start(instance, offset_file)
    try:
        yield
        if child.poll() is not None:
            print(f"{'':10}the second worker ended by itself with exit code {child.returncode}", flush=True)
    finally:
        _kill(child)


def _start(instance: Instance, offset_file: Path) -> subprocess.Popen[bytes]:
    """The worker with the right time, ready to work."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return _start_once(instance, offset_file, within_seconds=deadline - time.monotonic())
        except SetupError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _start_once(instance: Instance, offset_file: Path, *, within_seconds: float) -> subprocess.Popen[bytes]:
    """The same command and environment as those of the stack's own worker, but for its name and its clock."""
    faketime.set_offset(offset_file, 0)
    environment = supervision.environment(instance)
    command = [*processes.command("worker", instance, environment), "--hostname", f"{NODE}@%h"]
    # Its log has to say when it is ready.
    own = {**faketime.environment(offset_file), "LOG_LEVEL": "INFO"}
    log = log_of(instance)
    log.touch()
    earlier = log.stat().st_size
    child = children.start(faketime.command(command), log=log, environment={**environment, **own})
    try:
        children.wait_until(
            lambda: b" ready." in log.read_bytes()[earlier:],
            name="a second worker",
            child=child,
            log=log,
            within_seconds=within_seconds,
        )
    except BaseException:
        _kill(child)
        raise
    return child


def log_of(instance: Instance) -> Path:
    """The second worker's log."""
    return instance.logs / f"{NODE}-worker.log"


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    faketime.remove_shared_memory(child.pid)
