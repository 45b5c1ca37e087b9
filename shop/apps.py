"""The app's registration."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        from shop import gauges, outbox, replaying

        for name, help, read in (
            ("firstcome_events_queued", "Events that wait to be delivered.", outbox.queued_count),
            ("firstcome_events_dead", "Events refused for good, or given up.", replaying.dead_count),
            (
                "firstcome_events_oldest_queued_seconds",
                "How long the oldest queued event has waited.",
                outbox.oldest_age_seconds,
            ),
        ):
            gauges.register(name, help=help, read=read)
