"""The app's registration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InventoryConfig(AppConfig):
    name = "inventory"
    verbose_name = _("Inventory")

    def ready(self) -> None:
        from celery.signals import beat_init, worker_init

        from foundation.observability import gauges
        from foundation.operations import housekeeping
        from inventory import lost_demand, mirror, selectors
        from inventory.imports import importing

        housekeeping.SWEEPERS.append(lost_demand.sweep)
        for signal in (worker_init, beat_init):
            signal.connect(lambda **_: lost_demand.thread.start(), weak=False)

        gauges.register(
            "firstcome_stock_mirror_drift",
            "Products that were wrong in the mirror of stock at the last sweep.",
            mirror.drift,
        )
        gauges.register(
            "firstcome_lost_today_amount",
            "What was asked for today and not sold, in minor units.",
            selectors.lost_today_amount,
        )
        gauges.register(
            "firstcome_deliveries_unfinished",
            "Deliveries that have started and are not finished: run with the same id they continue.",
            importing.unfinished().count,
        )
