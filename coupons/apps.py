"""The app's registration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CouponsConfig(AppConfig):
    name = "coupons"
    verbose_name = _("Coupons")

    def ready(self) -> None:
        from coupons import campaigns, gate
        from coupons.metrics import state
        from coupons.models import Confirmation
        from coupons.partners import confirmation
        from coupons.queue import tickets
        from foundation.observability import gauges

        gauges.register(
            "firstcome_gate_in_flight",
            "Requests admitted by the gate of a campaign and not decided yet.",
            gate.numbers_in_flight,
            label="campaign",
        )
        gauges.register(
            "firstcome_coupons_confirming",
            "Coupons whose partner has not answered yet.",
            Confirmation.objects.count,
        )
        gauges.register(
            "firstcome_coupons_confirming_oldest_seconds",
            "For how many seconds the oldest of them has waited.",
            confirmation.oldest_age_seconds,
        )
        gauges.register(
            "firstcome_queue_tickets_waiting",
            "Queue tickets that wait to be settled.",
            tickets.count_waiting,
            label="campaign",
        )
        gauges.register(
            "firstcome_queue_oldest_ticket_seconds",
            "For how many seconds the first ticket of a queue that is not paused has waited.",
            tickets.longest_wait_seconds,
            label="campaign",
        )
        gauges.register(
            "firstcome_campaigns_running",
            "Campaigns that issue coupons now: open, not paused, and not sold out.",
            lambda: campaigns.running().count(),
        )
        gauges.register(
            "firstcome_coupons_duplicate",
            "Of the newest campaigns those with more coupons than their quantity, or two for an account.",
            state.duplicates,
        )
        gauges.register_group("running_campaigns", state.HELPS, state.read_running, label="campaign")
