"""The roof: the Django project, which puts the apps together. Nothing imports it."""

import importlib
import sys

if not {"redis", "opentelemetry"} & set(sys.modules):
    # redis-py imports OpenTelemetry wherever that is installed: 40 ms and 3 MB of every process. A
    # module that is None here raises the `ImportError` that it expects. Before Celery, which imports it too.
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]
    importlib.import_module("redis")
    del sys.modules["opentelemetry"]

from shop.celery import app as celery_app

__all__ = ["celery_app"]
