"""One pass of the tasks that beat schedules."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from shop.celery import app


class Command(BaseCommand):
    help = "Run once, in this process, the tasks that beat schedules every few seconds."

    def handle(self, **_: Any) -> None:
        app.loader.import_default_modules()
        for name in settings.CELERY_BEAT_SCHEDULE:
            done = app.tasks[name].run()
            self.stdout.write(f"{name}: {done if done is not None else 'done'}")
