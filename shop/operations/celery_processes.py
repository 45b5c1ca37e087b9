"""What Celery's processes do at their start: worker and beat expose their metrics and share their counts."""

from typing import Any

from celery.signals import beat_init, celeryd_after_setup
from celery.worker import state

from shop.concurrency.thread_pool import POOL_BUSY, POOL_THREADS, POOL_WAITING
from shop.observability import gauges, process_metrics
from shop.operations import metrics_server, shared_counts

TASKS = "tasks"
"""The pool of a worker's threads, in the metrics."""


@celeryd_after_setup.connect
def expose_worker_metrics(*, instance: Any, **_: object) -> None:
    """Expose what the worker counts, and how many of its threads are busy."""
    POOL_THREADS.labels(TASKS).set(instance.concurrency)
    process_metrics.add_sampler(_sample_tasks)
    metrics_server.start_server(gauges.OF_PROCESS)
    shared_counts.start()


@beat_init.connect
def expose_beat_metrics(**_: object) -> None:
    """Expose what beat counts, and the state gauges."""
    metrics_server.start_server(gauges.EVERYTHING)
    shared_counts.start()


def _sample_tasks() -> None:
    busy = len(state.active_requests)
    POOL_BUSY.labels(TASKS).set(busy)
    POOL_WAITING.labels(TASKS).set(max(0, len(state.reserved_requests) - busy))
