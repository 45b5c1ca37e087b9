"""The app's registration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SalesConfig(AppConfig):
    name = "sales"
    verbose_name = _("Sales and waiting rooms")

    def ready(self) -> None:
        from sales import metrics

        metrics.register()
