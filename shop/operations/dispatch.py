"""Handing work to Celery, or doing it here while the broker is away.

The queue may lose anything: a sweeper finds what was forgotten. So a failed hand-over is no error, and
while the broker is down a few threads of this process do the work, lest nothing moves.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Task
from django.db import close_old_connections
from kombu.exceptions import OperationalError
from structlog import get_logger

from shop.outbound.breaker import Breaker

log = get_logger(__name__)
THREADS = 4
# What a process holds at most; past it the sweeper is the quicker way.
MAX_WAITING = 1_000
# A message costs as much as the work of several orders, and a worker that receives one polls for more.
PAUSE_SECONDS = 0.5

_threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="queueing")
_mutex = threading.Lock()
# By name of the task: what the next message brings, and whose turn it is to send one.
_pending_arguments: dict[str, list[Any]] = defaultdict(list)
_send_mutexes: dict[str, threading.Lock] = defaultdict(threading.Lock)
_free_slots = threading.BoundedSemaphore(MAX_WAITING)
# Work is as well done here, so a broker that is away is asked rarely: each time a task waits for it.
_breaker = Breaker(seconds=3.0)


def enqueue(task: "Task[Any, Any]", *arguments: Any) -> None:
    """Have `task` run soon, somewhere. Call it after the commit of what it works on.

    Returns at once, whatever the broker does: a caller's answer is ready and must not wait for it.
    """
    if _free_slots.acquire(blocking=False):
        _threads.submit(_send_and_free_slot, task, arguments)
    else:
        log.warning("too much to hand over; the sweeper will find it", task=task.name)


def enqueue_batched(task: "Task[Any, Any]", argument: Any) -> None:
    """`enqueue` for a task that takes any number of arguments: those that come together share a message.

    The first goes at once, and what comes within a moment after it waits for the next.
    """
    with _mutex:
        waiting = _pending_arguments[task.name]
        is_first = not waiting
        if len(waiting) < MAX_WAITING:
            waiting.append(argument)
        else:
            log.warning("too much to hand over; the sweeper will find it", task=task.name)
    if is_first:
        _threads.submit(_send_batched, task)


def send_to_broker(task: "Task[Any, Any]", arguments: Sequence[Any], **options: Any) -> bool:
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


def run_locally(task: "Task[Any, Any]", arguments: Sequence[Any]) -> None:
    """Run `task` in this thread, as a worker would: its failure is logged, and no connection is left open."""
    close_old_connections()
    try:
        task.run(*arguments)
    except Exception:
        log.exception("task failed here; the sweeper will find it", task=task.name)
    finally:
        close_old_connections()


def _send_batched(task: "Task[Any, Any]") -> None:
    with _send_mutexes[task.name]:
        with _mutex:
            arguments = _pending_arguments.pop(task.name)
        _send_or_run_locally(task, arguments)
        time.sleep(PAUSE_SECONDS)


def _send_and_free_slot(task: "Task[Any, Any]", arguments: Sequence[Any]) -> None:
    try:
        _send_or_run_locally(task, arguments)
    finally:
        _free_slots.release()


def _send_or_run_locally(task: "Task[Any, Any]", arguments: Sequence[Any]) -> None:
    try:
        if not send_to_broker(task, arguments):
            run_locally(task, arguments)
    except Exception:
        log.exception("hand-over failed; the sweeper will find it", task=task.name)
