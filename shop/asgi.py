"""The entry point of the web server: its manager imports the application, and its workers serve it.

What is imported starts no thread and opens no connection: the workers are forks.
"""

import gc
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from django.conf import settings  # noqa: E402 - Django has to be set up first
from django.urls import get_resolver  # noqa: E402

from foundation import clock  # noqa: E402
from foundation.http import serving, traced_application  # noqa: E402
from foundation.observability import tracing  # noqa: E402
from foundation.operations import shared_counts  # noqa: E402
from foundation.redis import completion_notifications  # noqa: E402
from inventory import lost_demand  # noqa: E402
from orders.saga import run  # noqa: E402
from sales.waiting_room import ticking  # noqa: E402
from shop.burst import checks  # noqa: E402
from shop.burst.application import application  # noqa: E402

__all__ = ["application"]

if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
    application = traced_application.traced(application)  # type: ignore[assignment]
application = serving.Served(
    application,
    at_start=(
        lambda: tracing.start("web", endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT),
        # It ends a process whose host's clock is wrong.
        clock.start,
        shared_counts.start,
        ticking.thread.start,
        lost_demand.thread.start,
        run.start_leasing,
    ),
    at_stop=(completion_notifications.stop, ticking.thread.stop, lost_demand.thread.stop, run.stop_leasing),
    at_end=(run.finish,),
)

# Views are loaded now, once for all workers.
_ = get_resolver().url_patterns
checks.refuse_to_start()
# What is loaded is left out of garbage collection, whose pauses were 50 ms, and stays shared by the workers.
gc.collect()
gc.freeze()
gc.set_threshold(10_000)
