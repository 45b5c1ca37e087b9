"""The app's registration."""

from django.apps import AppConfig


class InventoryConfig(AppConfig):
    name = "inventory"

    def ready(self) -> None:
        from inventory.imports import importing
        from inventory.mirror import healing
        from shop.observability import gauges

        gauges.register(
            "firstcome_stock_mirror_drift",
            help="Products that the last sweep found wrong in the mirror of stock.",
            read=healing.drift,
        )
        gauges.register(
            "firstcome_deliveries_unfinished",
            help="Deliveries that have begun and are not all in: run again with their ids they go on.",
            read=importing.unfinished_count,
        )
