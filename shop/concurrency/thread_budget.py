"""How the threads of a web process are divided; each keeps a database connection.

A quarter leads batches (`shop.concurrency.group_commit`), the others run calls and pages
(`shop.concurrency.event_loop`). Coroutines that wait hold no thread. Password hashing, including its queue,
has its own bound within the threads that run calls, and leaves an eighth of all threads, at least one, to
other calls. That requires four threads or more.
"""

from typing import NamedTuple

from django.conf import settings


class ThreadShares(NamedTuple):
    """The most threads that each kind of work may hold at once."""

    leading: int
    """Batches: a quarter; of few threads 2, or all but one."""
    calling: int
    """Calls: the others."""
    hashing: int
    """Of those for calls, password hashing with its queue: an eighth; of few threads 4, or 1."""


def split_threads(threads: int) -> ThreadShares:
    """The bounds for a process with so many threads, 2 or more."""
    eighth = max(1, threads // 8)
    leading = min(max(2, threads // 4), threads - 1)
    calling = threads - leading
    hashing = min(max(4, eighth), calling - eighth) if threads >= 16 else min(2, calling - eighth)
    return ThreadShares(leading, calling, max(1, hashing))


PROCESS_SHARES = split_threads(settings.WEB_THREADS)
