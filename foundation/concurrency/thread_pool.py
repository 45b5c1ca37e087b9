"""A bounded pool of threads, each of which keeps a database connection of its own.

Tasks of one group hold at most half of the threads, so a group whose tasks are slow leaves threads for all
others. Each member of a group, if it has any, holds at most a quarter, and members take turns.
"""

import itertools
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from django.conf import settings
from django.db import connections
from prometheus_client import Gauge
from structlog import get_logger

from foundation.errors import Overloaded
from foundation.lazy_texts import mark
from foundation.observability import process_metrics

log = get_logger(__name__)
Outcome = TypeVar("Outcome")
MAX_PER_OWNER = 16
"""Tasks of one owner, running and waiting."""
POOL_THREADS = Gauge(
    "firstcome_pool_threads", "Threads that a pool may have.", ["pool"], multiprocess_mode="livesum"
)
POOL_BUSY = Gauge(
    "firstcome_pool_busy", "Threads of a pool that are not idle.", ["pool"], multiprocess_mode="livesum"
)
POOL_WAITING = Gauge(
    "firstcome_pool_waiting", "Tasks that wait for a thread of a pool.", ["pool"], multiprocess_mode="livesum"
)


class ThreadShares(NamedTuple):
    """How the threads of a web process are divided: a quarter for batches, the others for calls."""

    leading: int
    calling: int


def split_threads(threads: int) -> ThreadShares:
    """The bounds for a process with so many threads, 2 or more."""
    leading = min(max(2, threads // 4), threads - 1)
    return ThreadShares(leading, threads - leading)


PROCESS_SHARES = split_threads(settings.WEB_THREADS)


Names = tuple[Hashable, ...]


@dataclass(slots=True, eq=False)
class _Task:
    """`names` has its group, and behind it the group with its member: what counts its places."""

    function: Callable[[], None]
    names: Names
    owner: int | None


class ThreadPool:
    """At most `threads` threads. At most `max_waiting` tasks wait, half as many of a group, a quarter of a
    member.
    """

    def __init__(self, name: str, *, threads: int, max_waiting: int) -> None:
        self._name = name
        self._max_threads = threads
        # Of a group, and of a member of one.
        self._max_placed = max(1, threads // 2), max(1, threads // 4)
        self._max_waiting = max_waiting
        self._mutex = threading.Lock()
        self._numbers = itertools.count(1)
        # The signals of the threads, a lock each. A thread whose signal is not here ends once it has no task.
        self._threads: set[threading.Lock] = set()
        # The thread that was busy last is woken next: its connection and its caches are warm.
        self._idle: list[threading.Lock] = []
        # Threads on their way to a task. The last of them wakes an idle one once it has its task. So few
        # threads do what is quick: each wake costs more than a small task.
        self._starting: set[threading.Lock] = set()
        self._ready: deque[_Task] = deque()
        # Tasks whose group or member has its share of the threads, by group and by `names`, and how many of
        # each have a place. The member whose turn is next comes first.
        self._held: dict[Hashable, dict[Names, deque[_Task]]] = {}
        self._held_count = 0
        self._placed: Counter[Hashable] = Counter()
        self._of_owner: Counter[Hashable] = Counter()
        self._sampled: tuple[int, int] | None = None
        _pools.add(self)

    def start(
        self,
        work: Callable[[], None],
        *,
        group: Hashable | None = None,
        member: Hashable | None = None,
        owner: int | None = None,
    ) -> None:
        """Have a thread run `work`, in a context of its own; never blocks.

        Tasks run in the order of their starts, except those of a group, or of a member of one, that holds its
        share of the threads: others overtake them. Raises `Overloaded` if too many tasks wait, or if the
        owner has `MAX_PER_OWNER` running and waiting. An exception of the task is logged.
        """
        names = () if group is None else (group,) if member is None else (group, (group, member))
        task = _Task(work, names, owner)
        with self._mutex:
            is_held = not self._has_room(names)
            must_wait = is_held or len(self._ready) + self.busy() - len(self._starting) >= self._max_threads
            if must_wait and self.waiting() >= self._max_waiting:
                raise Overloaded(mark("Too many requests are waiting; nothing was done."))
            if is_held and not self._may_hold(names):
                raise Overloaded(mark("Too many requests like this one are waiting; nothing was done."))
            if owner is not None:
                if self._of_owner[owner] >= MAX_PER_OWNER:
                    raise Overloaded(
                        mark("Too many requests of this account are under way; nothing was done.")
                    )
                self._of_owner[owner] += 1
            if is_held:
                self._held.setdefault(group, {}).setdefault(names, deque()).append(task)
                self._held_count += 1
                return
            self._make_ready(task)
            self._start_thread()
            if not self._threads:
                self._ready.remove(task)
                self._release(task)
                raise Overloaded(mark("No thread could be started; nothing was done."))

    def sample(self) -> None:
        now = self.busy(), self.waiting()
        if now != self._sampled:
            self._sampled = now
            POOL_THREADS.labels(self._name).set(self._max_threads)
            POOL_BUSY.labels(self._name).set(now[0])
            POOL_WAITING.labels(self._name).set(now[1])

    def busy(self) -> int:
        """How many threads are not idle, including those that are starting."""
        return len(self._threads) - len(self._idle)

    def waiting(self) -> int:
        """How many tasks wait for a thread, or for their group's share of the threads."""
        return max(0, len(self._ready) - len(self._idle) - len(self._starting)) + self._held_count

    def _start_thread(self) -> None:
        """With the mutex held: wake one more thread if a task is ready, or start one if too few are there."""
        if self._ready and self._idle and not self._starting:
            signal = self._idle.pop()
            self._starting.add(signal)
            signal.release()
        elif self.waiting() > self._held_count and len(self._threads) < self._max_threads:
            signal = threading.Lock()
            name = f"{self._name}-{next(self._numbers)}"
            signal.acquire()
            try:
                threading.Thread(target=self._run, args=(signal,), name=name, daemon=True).start()
            except RuntimeError as error:
                log.error("a thread could not be started", pool=self._name, error=error)
                return
            self._threads.add(signal)
            self._starting.add(signal)

    def _run(self, signal: threading.Lock) -> None:
        """One thread: it does tasks while some are ready, and then waits for its signal."""
        task: _Task | None = None
        while True:
            with self._mutex:
                if task:
                    self._release(task)
                    task = None
                self._starting.discard(signal)
                is_wanted = signal in self._threads
                if is_wanted and self._ready:
                    task = self._ready.popleft()
                elif is_wanted:
                    self._idle.append(signal)
                self._start_thread()
            if not is_wanted:
                break
            if task:
                self._run_task(signal, task)
            else:
                signal.acquire()
        connections.close_all()

    def _run_task(self, signal: threading.Lock, task: _Task) -> None:
        try:
            try:
                # Nothing that a task sets in its context reaches the next one.
                Context().run(task.function)
            finally:
                close_unusable_connection()
        except BaseException as error:
            log.exception("a task in a thread failed", pool=self._name)
            if not isinstance(error, Exception):
                # The thread ends, as it was told to, and another one does what is ready.
                with self._mutex:
                    self._threads.discard(signal)

    def _make_ready(self, task: _Task) -> None:
        for name in task.names:
            self._placed[name] += 1
        self._ready.append(task)

    def _release(self, task: _Task) -> None:
        """With the mutex held: remove the task from the counts; a held task of its group becomes ready."""
        if task.owner is not None:
            _count_down(self._of_owner, task.owner)
        for name in task.names:
            _count_down(self._placed, name)
        if task.names and (successor := self._take_held(task.names[0])):
            self._make_ready(successor)

    def _take_held(self, group: Hashable) -> _Task | None:
        """With the mutex held: the group's next held task whose member has room; its member is last then."""
        by_names = self._held.get(group, {})
        for names, tasks in by_names.items():
            if self._has_room(tasks[0].names):
                del by_names[names]
                task = tasks.popleft()
                if tasks:
                    by_names[names] = tasks
                elif not by_names:
                    del self._held[group]
                self._held_count -= 1
                return task
        return None

    def _has_room(self, names: Names) -> bool:
        """With the mutex held: whether a task of theirs may have a place among the threads."""
        return all(self._placed[name] < most for name, most in zip(names, self._max_placed, strict=False))

    def _may_hold(self, names: Names) -> bool:
        by_names = self._held.get(names[0], {})
        if sum(map(len, by_names.values())) >= -(-self._max_waiting // 2):
            return False
        return len(names) < 2 or len(by_names.get(names, ())) < -(-self._max_waiting // 4)


_pools: WeakSet[ThreadPool] = WeakSet()
MAX_WAITING = 5_000
"""Tasks that may wait for a thread of a pool; the contract promises 1,000."""

CALL_POOL = ThreadPool("calls", threads=PROCESS_SHARES.calling, max_waiting=MAX_WAITING)
"""Runs everything that blocks: Django's lane, its pages, look-ups."""
LOOKUP_POOL = ThreadPool("look-ups", threads=2, max_waiting=MAX_WAITING)
"""Refreshes caches that all calls of the process use; short, and not delayed by slow views."""
ACCOUNTS_POOL = ThreadPool("disabled-accounts", threads=1, max_waiting=MAX_WAITING)
"""Reads the disabled and signed-out accounts, which every call with a token needs: no other look-up, and no
lock that one waits for, may delay it."""
# Each batcher has at most one task there, and one for each row that it waits for, so its queue bounds them.
LEADER_POOL = ThreadPool("batch-leader", threads=PROCESS_SHARES.leading, max_waiting=sys.maxsize)
PROBE_POOL = ThreadPool("probes", threads=2, max_waiting=MAX_WAITING)
"""Answers `/readyz` and `/metrics`, which are needed most while all other threads are busy."""
WELCOME_POOL = ThreadPool("welcome", threads=1, max_waiting=MAX_WAITING)
"""Answers `/`, which any number of browsers load again and again: they leave all other threads alone."""
FILE_POOL = ThreadPool("files", threads=1, max_waiting=MAX_WAITING)
"""Reads files that are being sent, which can't be refused any more when all other threads are busy."""


def call_at_once(call: Callable[..., Outcome], *arguments: Iterable[Any], threads: int) -> list[Outcome]:
    """Make several calls at once, by so many threads of their own; returns their outcomes in order."""
    with ThreadPoolExecutor(threads, thread_name_prefix="call") as pool:
        return list(pool.map(call, *arguments))


def _sample_pools() -> None:
    for pool in list(_pools):
        pool.sample()


process_metrics.add_sampler(_sample_pools)


def close_unusable_connection() -> None:
    """Close this thread's connections if they are broken or too old, as Django does at the end of a request,
    but not inside a transaction.
    """
    for one in connections.all(initialized_only=True):
        if one.connection is not None and not one.in_atomic_block:
            one.close_if_unusable_or_obsolete()


def _count_down(counts: Counter[Hashable], name: Hashable) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
