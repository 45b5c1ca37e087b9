"""The app's registration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class FoundationConfig(AppConfig):
    name = "foundation"
    # Of its tables, permissions, content types and pages since release 1.
    label = "shop"
    verbose_name = _("Shop")

    def ready(self) -> None:
        from foundation import clock
        from foundation.observability import gauges
        from foundation.observability.gauges import Source
        from foundation.operations import (
            celery_processes as _celery,  # noqa: F401 - receives its signals
            heartbeats,
            system_state,
        )
        from foundation.operations.audits import law_status

        gauges.register(
            "firstcome_clock_offset_seconds",
            "How far the clock of this host is ahead of the database's.",
            clock.host_offset_seconds,
            source=Source.PROCESS,
        )
        gauges.register(
            "firstcome_clock_measurement_age_seconds",
            "How long ago this process measured the database's clock.",
            clock.measurement_age_seconds,
            source=Source.PROCESS,
        )
        system_state.register_gauges()
        for heartbeat in heartbeats.GAUGES:
            heartbeats.expose(heartbeat, Source.REDIS)
        gauges.register_group("laws", law_status.HELPS, law_status.read_gauges, label="law")
