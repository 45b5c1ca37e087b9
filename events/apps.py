"""The app's registration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class EventsConfig(AppConfig):
    name = "events"
    verbose_name = _("Events")

    def ready(self) -> None:
        from celery.signals import worker_init, worker_shutdown

        from events.feed import catalogue, reading, recording
        from events.webhooks import deliveries, dispatcher, endpoints
        from foundation import journal
        from foundation.observability import gauges
        from foundation.operations import housekeeping

        journal.EVENTS.update(catalogue.FROM_JOURNAL)
        journal.RECORDERS.append(recording.record_lines)
        housekeeping.SWEEPERS += [reading.delete_old, deliveries.delete_old, endpoints.forget_former_secrets]
        worker_init.connect(dispatcher.of_worker.start)
        worker_shutdown.connect(dispatcher.of_worker.stop)
        gauges.register(
            "firstcome_feed_unsequenced_seconds",
            "How long the oldest committed event of the feed has had no position.",
            reading.unsequenced_seconds,
        )
        gauges.register(
            "firstcome_webhooks_oldest_pending_seconds",
            "How long the oldest event has waited that an enabled webhook endpoint is to get.",
            deliveries.oldest_pending_seconds,
        )
        gauges.register(
            "firstcome_events_queued", "Events that wait to be delivered.", deliveries.queued_count
        )
        gauges.register(
            "firstcome_events_refused",
            "Queued events that were refused at their last attempt, and will become dead letters.",
            deliveries.refused_count,
        )
        gauges.register(
            "firstcome_events_dead", "Events refused for good, or given up.", deliveries.dead_count
        )
        gauges.register(
            "firstcome_events_oldest_queued_seconds",
            "How long the oldest queued event has waited.",
            deliveries.oldest_queued_seconds,
        )
        gauges.register(
            "firstcome_webhook_endpoints_disabled",
            "Webhook endpoints that are disabled: by staff, after days of failures, or for lost rights.",
            endpoints.count_disabled,
            label="disabled_by",
        )
