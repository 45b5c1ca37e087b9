"""The app's registration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SalesConfig(AppConfig):
    name = "sales"
    verbose_name = _("Sales and waiting rooms")

    def ready(self) -> None:
        from foundation.observability import gauges
        from sales import metrics

        gauges.register_group("running_sales", metrics.HELPS, metrics.read_running, label="sale")
