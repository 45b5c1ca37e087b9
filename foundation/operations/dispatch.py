"""Dispatch of tasks to Celery, or to threads of this process while the broker is unavailable.

The queue may lose any task, because the sweeps find the work that is due. So a failed dispatch is not an
error, and while the broker is down a few threads of this process do the work.
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

from foundation.observability import task_context
from foundation.observability.task_context import NO_HEADERS, Headers
from foundation.outbound.circuit_breaker import CircuitBreaker

log = get_logger(__name__)
THREADS = 4
# Pending tasks in a process at most; beyond it the sweep is faster.
MAX_WAITING = 1_000
# Between two shared messages: one costs as much as the work of several orders, and a worker that receives one
# looks for more.
PAUSE_SECONDS = 1.0

# A node of the broker that is frozen, or cut off from the others, confirms nothing.
CONFIRM_SECONDS = 2.0

_threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="dispatch")
_mutex = threading.Lock()
# By the task's name: the headers of its next message's requests, and the mutex of the thread that sends it.
_pending: dict[str, list[Headers]] = defaultdict(list)
_send_mutexes: dict[str, threading.Lock] = defaultdict(threading.Lock)
_free_slots = threading.BoundedSemaphore(MAX_WAITING)
# Tasks can run here as well, so an unavailable broker is tried rarely: each attempt delays a task.
_breaker = CircuitBreaker("broker", seconds=3.0)


def enqueue(task: "Task[Any, Any]", *arguments: Any) -> None:
    """Run `task` soon, in a worker or here. Must be called after the commit of its data.

    Returns at once, whatever the broker does, because the caller's response must not wait for it.
    """
    if _free_slots.acquire(blocking=False):
        sent = _threads.submit(_send_or_run_locally, task, arguments, task_context.capture())
        sent.add_done_callback(lambda _: _free_slots.release())
    else:
        log.warning("too many tasks to dispatch; the sweep will find it", task=task.name)


def enqueue_shared(task: "Task[Any, Any]") -> None:
    """`enqueue` for a task that does all that waits: one message at once, then one for all of a pause."""
    with _mutex:
        waiting = _pending[task.name]
        is_first = not waiting
        if len(waiting) < task_context.MOST:
            waiting.append(task_context.capture())
    if is_first:
        _threads.submit(_send_shared, task)


def send_to_broker(
    task: "Task[Any, Any]", arguments: Sequence[Any], *, headers: Headers = NO_HEADERS, **options: Any
) -> bool:
    """Send `task` to the broker, with the headers of its requests; False while the broker is unavailable."""
    if not _breaker.allows_call():
        return False
    try:
        with task_context.sending(task.name, headers) as sent:
            task.apply_async(arguments, headers=sent, confirm_timeout=CONFIRM_SECONDS, **options)
    except (OperationalError, OSError) as error:
        _breaker.record_failure()
        log.warning("broker unavailable, running here", task=task.name, error=error)
        return False
    _breaker.record_success()
    return True


def run_locally(task: "Task[Any, Any]", arguments: Sequence[Any], headers: Headers = NO_HEADERS) -> None:
    """Run `task` in this thread, as a worker would: an error is logged, and no connection is left open."""
    close_old_connections()
    try:
        with task_context.running(task.name, headers):
            task.run(*arguments)
    except Exception:
        log.exception("task failed here; the sweep will find it", task=task.name)
    finally:
        close_old_connections()


def _send_shared(task: "Task[Any, Any]") -> None:
    with _send_mutexes[task.name]:
        with _mutex:
            headers = task_context.merge(_pending.pop(task.name))
        _send_or_run_locally(task, (), headers)
        # One of the threads rests meanwhile, and a second one waits for it.
        time.sleep(PAUSE_SECONDS)


def _send_or_run_locally(task: "Task[Any, Any]", arguments: Sequence[Any], headers: Headers) -> None:
    try:
        if not send_to_broker(task, arguments, headers=headers):
            run_locally(task, arguments, headers)
    except Exception:
        log.exception("dispatch failed; the sweep will find it", task=task.name)
