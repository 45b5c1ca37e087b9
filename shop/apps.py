"""The app's registration."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        from shop import checks as _checks  # noqa: F401 - registers them
        from shop import clock
        from shop.events import dead_events, outbox
        from shop.observability import gauges

        for name, help, read in (
            # First, because these need no database: the gauges after one that fails are left out.
            (
                "firstcome_clock_offset_seconds",
                "How far the clock of this host is ahead of the database's.",
                clock.host_offset_seconds,
            ),
            (
                "firstcome_clock_measurement_age_seconds",
                "How long ago this process measured the database's clock.",
                clock.measurement_age_seconds,
            ),
            ("firstcome_events_queued", "Events that wait to be delivered.", outbox.queued_count),
            (
                "firstcome_events_refused",
                "Queued events that were refused at their last attempt, and will become dead letters.",
                outbox.refused_count,
            ),
            ("firstcome_events_dead", "Events refused for good, or given up.", dead_events.dead_count),
            (
                "firstcome_events_oldest_queued_seconds",
                "How long the oldest queued event has waited.",
                outbox.oldest_age_seconds,
            ),
        ):
            gauges.register(name, help=help, read=read)
