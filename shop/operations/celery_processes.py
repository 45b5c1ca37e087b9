"""What Celery's processes do at their start: expose metrics, and share counts."""

from typing import Any

from celery.signals import beat_init, celeryd_after_setup
from celery.worker import state

from shop.concurrency.thread_pool import POOL_BUSY, POOL_THREADS, POOL_WAITING
from shop.observability import gauges, process_metrics
from shop.operations import metrics, shared_counts

TASKS = "tasks"
"""The pool of a worker's threads, in the metrics."""


@celeryd_after_setup.connect
def expose_worker_metrics(*, instance: Any, **_: object) -> None:
    POOL_THREADS.labels(TASKS).set(instance.concurrency)
    process_metrics.add_sampler(_sample_tasks)
    metrics.start_server(gauges.OF_PROCESS)
    shared_counts.start()


@beat_init.connect
def expose_beat_metrics(**_: object) -> None:
    metrics.start_server(gauges.EVERYTHING)
    shared_counts.start()


def _sample_tasks() -> None:
    busy = len(state.active_requests)
    POOL_BUSY.labels(TASKS).set(busy)
    POOL_WAITING.labels(TASKS).set(max(0, len(state.reserved_requests) - busy))
