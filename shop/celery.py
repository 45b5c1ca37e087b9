"""The Celery application. Tasks carry an id and call one domain function; state is in SQL."""

import os
from contextlib import AbstractContextManager
from typing import Any

from celery import Celery, Task
from celery.signals import beat_init, celeryd_init, setup_logging, task_postrun, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("firstcome")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """A receiver here stops Celery from replacing the handlers that settings configured."""


@celeryd_init.connect
@beat_init.connect
def start_clock(**_: object) -> None:
    """End worker and beat, before they take any task, when their host's clock is wrong."""
    # `shop` imports this module before the settings are loaded, which the clock needs.
    from shop import clock

    clock.start()


@celeryd_init.connect
def trace_worker(**_: object) -> None:
    """Record the worker's traces, where that is configured."""
    _start_tracing("worker")


@beat_init.connect
def trace_beat(**_: object) -> None:
    """Record beat's traces, where that is configured."""
    _start_tracing("beat")


# By the task's id, from its start to its end, in the thread that runs it.
_running: dict[str, AbstractContextManager[None]] = {}


@task_prerun.connect
def enter_task(task_id: str, task: "Task[Any, Any]", **_: object) -> None:
    """Bind the ids that came with the task's message, for its log lines and its trace."""
    from shop.observability import task_context

    headers = task_context.read(task.request)
    _running[task_id] = task_context.running(task.name, headers, task_id=task_id)
    _running[task_id].__enter__()


@task_postrun.connect
def leave_task(task_id: str, **_: object) -> None:
    """End what `enter_task` began."""
    running = _running.pop(task_id, None)
    if running:
        running.__exit__(None, None, None)


def _start_tracing(process: str) -> None:
    from django.conf import settings

    from shop.observability import tracing

    tracing.start(process, endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT)
