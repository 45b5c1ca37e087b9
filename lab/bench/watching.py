"""Processes of a stack while it is measured: their processor time, their memory, where they run."""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import MySQLdb

from scripts.stack import SetupError, database, process_identity
from scripts.stack.instance import Instance

PROCESSES = ("web", "mariadb", "redis", "worker")
"""Those whose processor time is divided by the requests: it says more on a shared machine than a rate."""
SAMPLE_SECONDS = 0.25
TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # of /proc/PID/stat, counted after the parenthesised name
PINNING = ("shop/http/serving.py", "shop/server/processors.py", "shop/processors.py")
"""A commit without any of them leaves its web processes free to run anywhere."""
# Such a saga waits for nothing but a live worker: it was never tried, has no lease, and isn't being undone.
# The index on the next attempt holds the unfinished sagas; there is none on the state.
OLDEST = """
SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6))), 0)
FROM orders_saga
WHERE next_attempt_at IS NOT NULL AND state = 'running' AND lease_token = '' AND attempts = 0
    AND direction = 'do'
"""


def spent(instance: Instance) -> Mapping[str, float]:
    """Seconds of processor that each of these has used so far, its children included."""
    return {name: sum(map(processor_seconds, processes(instance, name))) for name in PROCESSES}


def of_each(before: Mapping[str, float], now: Mapping[str, float], *, requests: int) -> dict[str, float]:
    """Microseconds a request that each has used since."""
    return {name: 1e6 * (now[name] - before[name]) / requests for name in now} if requests else {}


def processor_seconds(pid: int) -> float:
    """Of the process so far; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / TICKS


def processes(instance: Instance, name: str) -> set[int]:
    """The ids of the living processes of that name, children included."""
    # Redis writes its title over the mark by which children are known; it has none, and is known by its id.
    leader = process_identity.leader_of(instance.run, name)
    return process_identity.group_of(instance.run, name) | ({leader} if leader else set())


def forget_peaks(pids: Iterable[int]) -> None:
    """Have the kernel count the peak memory of these processes from now on, if it allows that."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pids: Iterable[int]) -> float:
    """The peak memory of the largest of these processes; 0 if all have ended."""
    return max((_kib(pid, "status", "VmHWM:") / 1024 for pid in pids), default=0)


def shared_out_kib(pids: Iterable[int]) -> float:
    """The memory of these processes (PSS); a page that several of them hold counts once."""
    return sum(_kib(pid, "smaps_rollup", "Pss:") for pid in pids)


def _kib(pid: int, file: str, mark: str) -> float:
    """The kernel's figure of that name; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return sum(float(line.split()[1]) for line in lines if line.startswith(mark))


def pin_web_processes(instance: Instance) -> None:
    """Keep the first web process to the first processor, the next to the next, as far as there are any.

    Under `make run` a web process claims a processor that no other process of the machine has
    claimed, so of several stacks only the first gets any. Measured with the same code twice, in turn, the
    first one accepted a quarter fewer orders a second.
    """
    if not any((instance.project / path).exists() for path in PINNING):
        return
    leader = process_identity.leader_of(instance.run, "web")
    workers = process_identity.group_of(instance.run, "web") - {leader}
    for pid, processor in zip(sorted(workers), sorted(os.sched_getaffinity(0)), strict=False):
        pin(pid, processor)


def pin(pid: int, processor: int) -> None:
    """Keep every thread of the process to that processor; threads that they start are kept there as well."""
    pinned: set[int] = set()
    while found := _threads(pid) - pinned:
        for thread in found:
            with contextlib.suppress(ProcessLookupError):  # it ended
                os.sched_setaffinity(thread, {processor})
        pinned |= found


def _threads(pid: int) -> set[int]:
    try:
        return {int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()}
    except FileNotFoundError:
        return set()


def stopped_worker(instance: Instance) -> AbstractContextManager[None]:
    """The worker is stopped (SIGSTOP) while the block runs."""
    return process_identity.frozen(process_identity.group_of(instance.run, "worker"))


@contextmanager
def oldest_waiting(instance: Instance) -> Iterator[list[float]]:
    """Sample the stack's database every quarter of a second while the block runs: how many seconds the oldest
    saga has waited for a worker.

    Raises SetupError at the end of the block when a sample failed: an age that isn't known is no age of 0.
    """
    ages, ended = [0.0], threading.Event()

    def sample() -> None:
        with database.connected(instance) as connection, connection.cursor() as cursor:
            while not ended.wait(SAMPLE_SECONDS):
                cursor.execute(OLDEST)
                ages.append(int(cursor.fetchone()[0]) / 1e6)

    with ThreadPoolExecutor(1, "saga-sampler") as threads:
        sampling = threads.submit(sample)
        try:
            yield ages
        finally:
            ended.set()
    try:
        sampling.result()
    except MySQLdb.Error as error:
        raise SetupError(f"the sagas of {instance.home} can't be sampled: {error}") from error
