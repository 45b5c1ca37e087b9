"""The app's registration, and what it has to tell at each look at the metrics."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"

    def ready(self) -> None:
        from orders import standing
        from shop import gauges

        gauges.register(
            "firstcome_sagas_stuck",
            help="Sagas past their deadline that need an operator.",
            read=standing.count_stuck,
            label="kind",
        )
