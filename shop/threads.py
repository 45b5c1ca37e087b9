"""How the threads of a web process are shared out; each keeps a database connection.

A quarter leads batches (`shop.group_commit`), the others run calls. Bodies on their way, requests that sleep
until something settles or the workers catch up, and passwords that are hashed or wait for it each have a
bound of their own. All of them together leave an eighth of the threads free, at least one, for requests that
only want an answer, such as /healthz. That takes four threads or more.
"""

from typing import NamedTuple

from django.conf import settings


class Shares(NamedTuple):
    """The most threads that may be held at once."""

    leading: int
    """By batches: a quarter; of few threads 2, or all but one."""
    calling: int
    """By calls: the others."""
    hashing: int
    """By passwords, those in line included: an eighth; of few threads 4, or 2."""
    reading: int
    """By bodies: a quarter."""
    sleeping: int
    """By requests that sleep: a half, or what the others leave of it; none of four threads."""


def shares(threads: int) -> Shares:
    """The bounds for a process of so many threads, 2 or more."""
    reading, eighth = max(1, threads // 4), max(1, threads // 8)
    hashing = max(4 if threads >= 16 else 2, eighth)
    sleeping = min(threads // 2, threads - reading - hashing - eighth)
    leading = min(max(2, threads // 4), threads - 1)
    return Shares(leading, threads - leading, hashing, reading, max(0, sleeping))


OURS = shares(settings.WEB_THREADS)
