"""The Celery application. Tasks carry an id and call one domain function; state lives in SQL."""

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("firstcome")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """A receiver here stops Celery from replacing the handlers that settings configured."""
