"""A bounded pool of threads, each of which keeps a database connection of its own.

Starting a work never blocks: the work goes to an idle thread, to a new one, or waits. Works of one group hold
at most half of the threads, so a group whose works are slow leaves threads for all others.
"""

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from contextvars import Context
from weakref import WeakSet

from django.db import connection, connections
from structlog import get_logger

from shop.errors import Overloaded

log = get_logger(__name__)
MOST_OF_ONE_OWNER = 16
"""Works of one owner, running and waiting."""
IDLE_SECONDS = 600.0


class _Work:
    __slots__ = ("function", "group", "owner")

    def __init__(self, function: Callable[[], None], group: Hashable | None, owner: int | None) -> None:
        self.function = function
        self.group = group
        self.owner = owner


class _Thread:
    """A thread of the pool with its work; None while it is idle. `wake` is a lock used as a signal.

    Once it is not wanted any more it ends rather than being idle.
    """

    __slots__ = ("is_wanted", "wake", "work")

    def __init__(self, work: _Work) -> None:
        self.work: _Work | None = work
        self.is_wanted = True
        self.wake = threading.Lock()
        self.wake.acquire()


class ThreadPool:
    """At most `threads` threads, made when they are needed, that end after `idle_seconds` without work.

    At most `max_waiting` works wait for a thread.
    """

    def __init__(
        self, name: str, *, threads: int, max_waiting: int, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._name = name
        self._max_threads = threads
        self._max_of_group = max(1, threads // 2)
        self._max_waiting = max_waiting
        self._idle_seconds = idle_seconds
        self._mutex = threading.Lock()
        self._numbers = itertools.count(1)
        self._threads: set[_Thread] = set()
        # The thread that was busy last is the next to work: its connection and its caches are warm.
        self._idle: list[_Thread] = []
        # While a work is ready no thread is idle.
        self._ready: deque[_Work] = deque()
        # Works whose group has its share of the threads, and how many works of each group have a place.
        self._held: dict[Hashable, deque[_Work]] = {}
        self._held_count = 0
        self._of_group: Counter[Hashable] = Counter()
        self._of_owner: Counter[Hashable] = Counter()
        _pools.add(self)

    def start(
        self, work: Callable[[], None], *, group: Hashable | None = None, owner: int | None = None
    ) -> None:
        """Have a thread run `work`, in a context of its own; never blocks.

        Works run in the order of their starts, but for those of a group that has its share of the threads:
        others pass them. Raises `Overloaded` when too many works wait, or when the owner has
        `MOST_OF_ONE_OWNER` running and waiting. An exception of the work is logged.
        """
        made = _Work(work, group, owner)
        with self._mutex:
            is_held = group is not None and self._of_group[group] >= self._max_of_group
            has_place = not is_held and (self._idle or len(self._threads) < self._max_threads)
            if not has_place and self.waiting() >= self._max_waiting:
                raise Overloaded("Too many requests are waiting; nothing was done.")
            if owner is not None:
                if self._of_owner[owner] >= MOST_OF_ONE_OWNER:
                    raise Overloaded("Too many requests of this account are under way; nothing was done.")
                self._of_owner[owner] += 1
            if is_held:
                self._held.setdefault(group, deque()).append(made)
                self._held_count += 1
                return
            if group is not None:
                self._of_group[group] += 1
            thread = self._hand_over(made)
        if thread:
            self._launch(thread, made)

    def busy(self) -> int:
        """How many threads work."""
        return len(self._threads) - len(self._idle)

    def waiting(self) -> int:
        """How many works wait for a thread, or for their group's turn."""
        return len(self._ready) + self._held_count

    def renew_threads(self) -> None:
        """Have each thread end once it has no work, and close its connection; later works get new ones."""
        with self._mutex:
            for thread in self._threads:
                thread.is_wanted = False
            for thread in self._idle:
                thread.wake.release()
            self._idle.clear()

    def _hand_over(self, work: _Work) -> _Thread | None:
        """With the mutex held: give the work to an idle thread, or have it wait.

        Returns a new thread where there may be one more: the caller launches it, without the mutex.
        """
        if self._idle:
            thread = self._idle.pop()
            thread.work = work
            thread.wake.release()
        elif len(self._threads) < self._max_threads:
            thread = _Thread(work)
            self._threads.add(thread)
            return thread
        else:
            self._ready.append(work)
        return None

    def _launch(self, thread: _Thread, work: _Work) -> None:
        name = f"{self._name}-{next(self._numbers)}"
        try:
            threading.Thread(target=self._run, args=(thread,), name=name, daemon=True).start()
        except RuntimeError as error:
            log.error("a thread could not be started", pool=self._name, error=str(error))
            with self._mutex:
                self._threads.remove(thread)
                if not self._threads:
                    self._release(work)
                    raise Overloaded("No thread could be started; nothing was done.") from error
                if self._idle:
                    self._hand_over(work)
                else:
                    self._ready.append(work)

    def _run(self, thread: _Thread) -> None:
        try:
            while work := thread.work or self._await_work(thread):
                self._run_work(work)
                self._finish(thread)
        except BaseException:
            log.exception("a thread died", pool=self._name)
        finally:
            try:
                connections.close_all()
            finally:
                self._leave(thread)

    def _run_work(self, work: _Work) -> None:
        try:
            try:
                # Nothing that a work sets in its context reaches the next one.
                Context().run(work.function)
            finally:
                look_after_connection()
        except Exception:
            log.exception("work in a thread failed", pool=self._name)

    def _finish(self, thread: _Thread) -> None:
        """Give back what the thread's work held, and take the next work, if one is ready."""
        with self._mutex:
            self._release(thread.work)
            thread.work = self._ready.popleft() if self._ready and thread.is_wanted else None
            if thread.work is None and thread.is_wanted:
                self._idle.append(thread)

    def _release(self, work: _Work | None) -> None:
        """With the mutex held: count the work no more; a held work of its group is ready in its place."""
        if work is None:
            return
        if work.owner is not None:
            _count_down(self._of_owner, work.owner)
        if work.group is None:
            return
        if held := self._held.get(work.group):
            self._ready.append(held.popleft())
            self._held_count -= 1
            if not held:
                del self._held[work.group]
        else:
            _count_down(self._of_group, work.group)

    def _await_work(self, thread: _Thread) -> _Work | None:
        """The next work that is handed to an idle thread; None where it is to end."""
        if thread.is_wanted and not thread.wake.acquire(timeout=self._idle_seconds):
            with self._mutex:
                if thread in self._idle:
                    self._idle.remove(thread)
                    return None
            # Woken in this very moment.
            thread.wake.acquire()
        return thread.work

    def _leave(self, thread: _Thread) -> None:
        """Free the place of a thread that ends; another takes it where works are ready."""
        with self._mutex:
            self._release(thread.work)
            if thread in self._idle:
                self._idle.remove(thread)
            self._threads.remove(thread)
            work = self._ready.popleft() if self._ready else None
            successor = self._hand_over(work) if work else None
        if work and successor:
            self._launch(successor, work)


_pools: WeakSet[ThreadPool] = WeakSet()


def renew_threads() -> None:
    """Have the threads of all pools open new connections, where the database is another one now (tests)."""
    for pool in list(_pools):
        pool.renew_threads()


def look_after_connection() -> None:
    """What Django does at the end of a request: close this thread's connection if it is broken or too old.

    The connection is checked before its next use if it has rested. Inside a transaction it is left alone.
    """
    if connection.connection is not None and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _count_down(counts: Counter[Hashable], name: Hashable) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
