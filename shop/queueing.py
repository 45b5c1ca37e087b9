"""Handing work to Celery, or doing it here while the broker is away.

The queue may lose anything: a sweeper finds what was forgotten. So a failed hand-over is no error, and
while the broker is down a few threads of this process do the work, lest nothing moves.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Task
from django.db import close_old_connections
from kombu.exceptions import OperationalError
from structlog import get_logger

log = get_logger(__name__)
THREADS = 4
# While the broker is away each hand-over would cost its connect timeout: skip it for a second instead.
BREAK_SECONDS = 1.0

_here = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="queueing")
_away_until = 0.0


def enqueue(task: "Task[Any, Any]", *arguments: Any) -> None:
    """Have `task` run soon, somewhere. Call it after the commit of what it works on."""
    global _away_until
    if time.monotonic() >= _away_until:
        try:
            task.apply_async(arguments)
            return
        except (OperationalError, OSError) as error:
            _away_until = time.monotonic() + BREAK_SECONDS
            log.warning("broker away, working here", task=task.name, error=str(error))
    _here.submit(_run, task, arguments)


def _run(task: "Task[Any, Any]", arguments: tuple[Any, ...]) -> None:
    close_old_connections()
    try:
        task.run(*arguments)
    except Exception:
        log.exception("task failed here; the sweeper will find it", task=task.name)
    finally:
        close_old_connections()
