"""What Celery's processes do at their start: expose metrics, share counts, and workers deliver webhooks."""

from typing import Any

from celery.signals import beat_init, celeryd_after_setup, worker_init, worker_shutdown
from celery.worker import state

from shop.concurrency.thread_pool import POOL_BUSY, POOL_THREADS, POOL_WAITING
from shop.observability import gauges, process_metrics
from shop.operations import metrics, shared_counts
from shop.webhook_endpoints.dispatcher import Dispatcher

TASKS = "tasks"
"""The pool of a worker's threads, in the metrics."""
_webhooks = Dispatcher()


@celeryd_after_setup.connect
def expose_worker_metrics(*, instance: Any, **_: object) -> None:
    POOL_THREADS.labels(TASKS).set(instance.concurrency)
    process_metrics.add_sampler(_sample_tasks)
    metrics.start_server(gauges.OF_PROCESS)
    shared_counts.start()


@worker_init.connect
def start_webhooks(**_: object) -> None:
    """Deliver to webhook endpoints, in threads beside those of tasks."""
    _webhooks.start()


@worker_shutdown.connect
def stop_webhooks(**_: object) -> None:
    _webhooks.stop()


@beat_init.connect
def expose_beat_metrics(**_: object) -> None:
    metrics.start_server(gauges.EVERYTHING)
    shared_counts.start()


def _sample_tasks() -> None:
    busy = len(state.active_requests)
    POOL_BUSY.labels(TASKS).set(busy)
    POOL_WAITING.labels(TASKS).set(max(0, len(state.reserved_requests) - busy))
