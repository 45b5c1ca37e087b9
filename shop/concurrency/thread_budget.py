"""How the threads of a web process are shared out; each keeps a database connection.

A quarter leads batches (`shop.concurrency.group_commit`), the others run calls and pages
(`shop.concurrency.event_loop`). Whatever only waits holds none. Passwords that are hashed or wait for it have
a bound of their own, and leave an eighth of the threads, at least one of those that run calls. That takes
four threads or more.
"""

from typing import NamedTuple

from django.conf import settings


class ThreadShares(NamedTuple):
    """The most threads that may be held at once."""

    leading: int
    """By batches: a quarter; of few threads 2, or all but one."""
    calling: int
    """By calls: the others."""
    hashing: int
    """Of those that run calls, by passwords, those in line included: an eighth; of few threads 4, or 1."""


def split_threads(threads: int) -> ThreadShares:
    """The bounds for a process of so many threads, 2 or more."""
    eighth = max(1, threads // 8)
    leading = min(max(2, threads // 4), threads - 1)
    calling = threads - leading
    hashing = min(max(4, eighth), calling - eighth) if threads >= 16 else min(2, calling - eighth)
    return ThreadShares(leading, calling, max(1, hashing))


PROCESS_SHARES = split_threads(settings.WEB_THREADS)
