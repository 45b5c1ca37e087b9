"""The app's registration."""

from django.apps import AppConfig


class InventoryConfig(AppConfig):
    name = "inventory"

    def ready(self) -> None:
        from inventory import healing
        from shop import gauges

        gauges.register(
            "firstcome_stock_mirror_drift",
            help="Products that the last sweep found wrong in the mirror of stock.",
            read=healing.drift,
        )
