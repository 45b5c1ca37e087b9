"""The Celery application. Tasks carry an id and call one domain function; state is in SQL."""

import os

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("firstcome")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """A receiver here stops Celery from replacing the handlers that settings configured."""


@celeryd_init.connect
@beat_init.connect
def start_clock(**_: object) -> None:
    """End worker and beat, before they take any task, when their host's clock is wrong."""
    # `shop` imports this module before the settings are loaded, which the clock needs.
    from shop import clock

    clock.start()
