"""What every app builds on: settings, HTTP, the database, Redis, events, operations.

`settings`, `urls`, `celery` and `admin_site` compose the apps. Any app may import from here; nothing here
imports an app, except `urls` and management commands.
"""

from shop.observability import redis_import

# Before any module imports redis-py, as Celery does.
redis_import.import_plainly()

from shop.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]
