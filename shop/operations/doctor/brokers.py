"""Checks of the broker: whether it keeps tasks, and delivers each to one worker at a time."""

from typing import Any

from django.conf import settings
from kombu import Connection

from shop.operations import broker_connections
from shop.operations.doctor import redises
from shop.operations.doctor.findings import Finding, danger, ok, warning

CONNECT_TIMEOUT_SECONDS = 2.0


def examine() -> list[Finding]:
    found = [visibility_timeout()] if _is_redis() else []
    try:
        with broker_connections.connected(within_seconds=CONNECT_TIMEOUT_SECONDS) as connection:
            return [*found, ok("broker", connection.transport.driver_type), *_redis_findings(connection)]
    except Exception as error:
        # Each transport has its own errors, without a common base class in kombu.
        return [
            *found,
            warning(
                "broker",
                f"can't be reached: {error}",
                "Web processes and beat run the tasks meanwhile: start it, or correct BROKER_URL.",
            ),
        ]


def visibility_timeout() -> Finding:
    """With Redis, a task that is not finished within this time is delivered to another worker as well."""
    seconds = int(settings.CELERY_BROKER_TRANSPORT_OPTIONS.get("visibility_timeout", 3600))
    limit = int(settings.CELERY_TASK_TIME_LIMIT)
    found = f"{seconds} s, tasks may take {limit} s"
    if seconds <= limit:
        return danger("visibility timeout", found, "Make it longer than CELERY_TASK_TIME_LIMIT.")
    return ok("visibility timeout", found)


def _redis_findings(connection: Connection) -> list[Finding]:
    if not _is_redis():
        return []
    channel: Any = connection.default_channel
    client = channel.client
    return [
        redises.eviction(client, "broker eviction", is_broker=True),
        redises.persistence(client, "broker persistence"),
    ]


def _is_redis() -> bool:
    return str(settings.CELERY_BROKER_URL).startswith("redis")
