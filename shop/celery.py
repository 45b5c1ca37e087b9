"""The Celery application. Tasks carry an id at most and call one domain function; state is in SQL."""

import os
from datetime import datetime

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")


class App(Celery):
    """The application; its time, by which beat runs its schedule and messages expire, is the database's."""

    def now(self) -> datetime:
        # `shop` imports this module before the settings are loaded, which the clock needs.
        from foundation import clock

        return clock.now()


app = App("firstcome", task_cls="foundation.operations.celery_processes:Task")
# `celery.current_app` of every thread, by which the floor knows it.
app.set_default()
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """A receiver here stops Celery from replacing the handlers that settings configured."""
