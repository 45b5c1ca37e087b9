"""What the shop changes in Celery's processes: when messages expire, the consumer, what is started."""

import threading
from contextlib import AbstractContextManager
from typing import Any

import celery
from celery.signals import beat_init, celeryd_after_setup, celeryd_init, task_postrun, task_prerun
from celery.worker import consumer, request, state
from django.conf import settings
from django.db import close_old_connections
from structlog import get_logger

from foundation import clock
from foundation.concurrency.thread_pool import POOL_BUSY, POOL_THREADS, POOL_WAITING
from foundation.observability import gauges, process_metrics, task_context, tracing
from foundation.operations import metrics, shared_counts

log = get_logger(__name__)
TASKS = "tasks"
"""The pool of a worker's threads, in the metrics."""
DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
# By the id of the task and the thread that runs it, from its start to its end: a message that comes twice may
# run in two threads at once, and each may only end what it began itself.
_running: dict[tuple[str, int], AbstractContextManager[None]] = {}


class Request(request.Request):
    """A message that expires by the database's clock, as `shop.celery.App` sets it.

    Celery compares with the clock of the worker's host: one that is ahead would drop every message of beat.
    """

    def maybe_expire(self) -> bool:
        """Whether it has expired, so that the worker drops it."""
        return self.expires is not None and clock.now() > self.expires


class Task(celery.Task):
    Request = f"{__name__}:{Request.__name__}"


class Consumer(consumer.Consumer):
    """Declares no queues for delayed tasks, and outlives a connection that can't give its messages back.

    With quorum queues Celery declares 28 more, at each node in turn, before the first task. The shop delays
    no tasks: what is due later is a column and a sweep.
    """

    class Blueprint(consumer.Consumer.Blueprint):
        default_steps = [
            step for step in consumer.Consumer.Blueprint.default_steps if step != DELAYED_DELIVERY
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of a task that ends after the connection was lost that its message came by, whose address kombu has
        # forgotten as well: its acknowledgement would end the worker.
        self.connection_errors = (*self.conninfo.connection_errors, AttributeError)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the connection that broke; Celery opens another one.

        kombu gives unacknowledged messages back to Redis by the address of the connection, which it has
        forgotten when Redis was away (celery/kombu#582): the worker would end. They come again after the
        visibility timeout, and the sweeps find their work before.
        """
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            log.warning("messages were not given back to the broker", error=error)


@celeryd_init.connect
def start_clock(**_: object) -> None:
    """End a worker whose host's clock is wrong before it takes any task; beat's scheduler does so itself."""
    clock.start()
    tracing.start("worker", endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT)


@celeryd_after_setup.connect
def expose_worker_metrics(*, instance: Any, **_: object) -> None:
    POOL_THREADS.labels(TASKS).set(instance.concurrency)
    process_metrics.add_sampler(_sample_tasks)
    metrics.start_server(gauges.OF_PROCESS)
    shared_counts.start()


@beat_init.connect
def expose_beat_metrics(**_: object) -> None:
    tracing.start("beat", endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT)
    metrics.start_server(gauges.EVERYTHING)
    shared_counts.start()


@task_prerun.connect
def enter_task(task_id: str, task: "celery.Task[Any, Any]", **_: object) -> None:
    """Bind the ids that came with the task's message, for its log lines and its trace."""
    close_old_connections()
    running = task_context.running(task.name, task_context.read(task.request), task_id=task_id)
    running.__enter__()
    _running[task_id, threading.get_ident()] = running


@task_postrun.connect
def leave_task(task_id: str, **_: object) -> None:
    running = _running.pop((task_id, threading.get_ident()), None)
    if running:
        running.__exit__(None, None, None)


def _sample_tasks() -> None:
    busy = len(state.active_requests)
    POOL_BUSY.labels(TASKS).set(busy)
    POOL_WAITING.labels(TASKS).set(max(0, len(state.reserved_requests) - busy))
