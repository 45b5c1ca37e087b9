"""The entry point of a web process: the application that uvicorn serves."""

import gc
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from django.conf import settings  # noqa: E402 - Django has to be set up first
from django.urls import get_resolver, reverse  # noqa: E402

from sales.waiting_room import ticking  # noqa: E402
from shop import clock, welcome_page  # noqa: E402
from shop.http import checks, traced_application  # noqa: E402
from shop.http.application import application  # noqa: E402
from shop.http.pages import pages  # noqa: E402
from shop.observability import tracing  # noqa: E402
from shop.operations import shared_counts  # noqa: E402
from shop.redis import completion_notifications  # noqa: E402
from shop.server import processors, worker  # noqa: E402

__all__ = ["application"]

tracing.start("web", endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT)
if tracing.is_on:
    application = traced_application.traced(application)  # type: ignore[assignment]

# Before the first request: it ends a process whose host's clock is wrong.
clock.start()

# Views are loaded now: what is loaded is then left out of garbage collection, whose pauses were 50 ms.
_ = get_resolver().url_patterns
checks.refuse_ignored_settings()
pages.kept_pages[reverse("welcome")] = welcome_page.serve
worker.stop_callbacks += [completion_notifications.stop, ticking.thread.stop]
worker.start_callbacks.append(ticking.thread.start)
shared_counts.start()
gc.collect()
gc.freeze()
gc.set_threshold(10_000)
if settings.IS_MAKE_RUN and settings.WEB_WORKERS > 1:
    processors.pin_to_free_processor()
