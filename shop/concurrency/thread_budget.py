"""How the threads of a web process, each with a database connection, are divided."""

from typing import NamedTuple

from django.conf import settings


class ThreadShares(NamedTuple):
    """The most threads that each kind of work may hold at once."""

    leading: int
    """Batches: a quarter; of few threads 2, or all but one."""
    calling: int
    """Calls: the others."""


def split_threads(threads: int) -> ThreadShares:
    """The bounds for a process with so many threads, 2 or more."""
    leading = min(max(2, threads // 4), threads - 1)
    return ThreadShares(leading, threads - leading)


PROCESS_SHARES = split_threads(settings.WEB_THREADS)
