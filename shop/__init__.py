"""What every app stands on: settings, the edges, the database, Redis, events, operations.

`settings`, `urls`, `celery` and `admin_site` put the apps together. Any app may import from here; nothing
here imports an app, except `urls` and management commands.
"""

from shop.celery import app as celery_app

__all__ = ["celery_app"]
