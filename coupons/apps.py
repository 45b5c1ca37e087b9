"""The app's registration."""

from django.apps import AppConfig


class CouponsConfig(AppConfig):
    name = "coupons"

    def ready(self) -> None:
        from coupons.in_redis import gate_healing
        from shop import gauges

        gauges.register(
            "firstcome_gate_in_flight",
            help="Askers let through the gate of a campaign and not decided yet.",
            label="campaign",
            read=gate_healing.numbers_in_flight,
        )
