"""The Celery application. Tasks carry an id at most and call one domain function; state is in SQL."""

import os
import threading
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from celery import Celery, Task
from celery.signals import beat_init, celeryd_init, setup_logging, task_postrun, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")


class App(Celery):
    """The application; its time, by which beat runs its schedule and messages expire, is the database's."""

    def now(self) -> datetime:
        # `shop` imports this module before the settings are loaded, which the clock needs.
        from shop import clock

        return clock.now()


app = App("firstcome", task_cls="shop.operations.task_messages:Task")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """A receiver here stops Celery from replacing the handlers that settings configured."""


@celeryd_init.connect
def start_clock(**_: object) -> None:
    """End a worker whose host's clock is wrong before it takes any task; beat's scheduler does so itself."""
    from shop import clock

    clock.start()
    _start_tracing("worker")


@beat_init.connect
def trace_beat(**_: object) -> None:
    _start_tracing("beat")


# By the id of the task and the thread that runs it, from its start to its end: a message that comes twice may
# run in two threads at once, and each may only end what it began itself.
_running: dict[tuple[str, int], AbstractContextManager[None]] = {}


@task_prerun.connect
def enter_task(task_id: str, task: "Task[Any, Any]", **_: object) -> None:
    """Bind the ids that came with the task's message, for its log lines and its trace."""
    from shop.observability import task_context

    running = task_context.running(task.name, task_context.read(task.request), task_id=task_id)
    running.__enter__()
    _running[task_id, threading.get_ident()] = running


@task_postrun.connect
def leave_task(task_id: str, **_: object) -> None:
    running = _running.pop((task_id, threading.get_ident()), None)
    if running:
        running.__exit__(None, None, None)


def _start_tracing(process: str) -> None:
    from django.conf import settings

    from shop.observability import tracing

    tracing.start(process, endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT)
