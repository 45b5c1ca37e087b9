"""Handing work to Celery, or doing it here while the broker is away.

The queue may lose anything: a sweeper finds what was forgotten. So a failed hand-over is no error, and
while the broker is down a few threads of this process do the work, lest nothing moves.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Task
from django.db import close_old_connections
from kombu.exceptions import OperationalError
from structlog import get_logger

from shop.breaker import Breaker

log = get_logger(__name__)
THREADS = 4
# What a process holds at most; past it the sweeper is the quicker way.
MAX_WAITING = 1_000

_threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="queueing")
_places = threading.BoundedSemaphore(MAX_WAITING)
# Work is as well done here, so a broker that is away is asked rarely: each time a task waits for it.
_breaker = Breaker(seconds=3.0)


def enqueue(task: "Task[Any, Any]", *arguments: Any) -> None:
    """Have `task` run soon, somewhere. Call it after the commit of what it works on.

    Returns at once, whatever the broker does: a caller's answer is ready and must not wait for it.
    """
    if _places.acquire(blocking=False):
        _threads.submit(_hand_over_or_work_here, task, arguments)
    else:
        log.warning("too much to hand over; the sweeper will find it", task=task.name)


def hand_over(task: "Task[Any, Any]", arguments: Sequence[Any], **options: Any) -> bool:
    """Give `task` to the broker; False while that is away."""
    if not _breaker.lets_through():
        return False
    try:
        task.apply_async(arguments, **options)
    except (OperationalError, OSError) as error:
        _breaker.failed()
        log.warning("broker away, working here", task=task.name, error=str(error))
        return False
    _breaker.worked()
    return True


def work_here(task: "Task[Any, Any]", arguments: Sequence[Any]) -> None:
    """Run `task` in this thread, as a worker would: its failure is logged, and no connection is left open."""
    close_old_connections()
    try:
        task.run(*arguments)
    except Exception:
        log.exception("task failed here; the sweeper will find it", task=task.name)
    finally:
        close_old_connections()


def _hand_over_or_work_here(task: "Task[Any, Any]", arguments: Sequence[Any]) -> None:
    try:
        if not hand_over(task, arguments):
            work_here(task, arguments)
    except Exception:
        log.exception("hand-over failed; the sweeper will find it", task=task.name)
    finally:
        _places.release()
