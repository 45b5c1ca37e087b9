"""Checks of the broker: whether it keeps tasks, and delivers each to one worker at a time."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from kombu import Connection

from shop.celery import app
from shop.operations import broker_connections
from shop.operations.doctor import redises
from shop.operations.doctor.findings import Finding, danger, judge, ok, warning

CONNECT_TIMEOUT_SECONDS = 2.0


def examine() -> list[Finding]:
    found = [visibility_timeout()] if _is_redis() else []
    try:
        with broker_connections.connected(within_seconds=CONNECT_TIMEOUT_SECONDS) as connection:
            return [
                *found,
                ok("broker", connection.transport.driver_type),
                *_redis_findings(connection),
                *_rabbitmq_findings(connection),
            ]
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
    found, advice = f"{seconds} s, tasks may take {limit} s", "Make it longer than CELERY_TASK_TIME_LIMIT."
    return judge("visibility timeout", found, seconds <= limit, "danger", advice)


def queue_type(kind: str, *, nodes: int, refused: Sequence[str]) -> list[Finding]:
    """The finding about the queues of a RabbitMQ cluster: `refused` are those of another type than `kind`.

    A broker of one node with classic queues has none.
    """
    check, found = "broker queues", f"{kind}, with {nodes} nodes in BROKER_URL"
    if kind != "quorum":
        advice = "A classic queue is lost with its node: set the queue type to quorum, on new queues."
        return [] if nodes < 2 else [warning(check, found, advice)]
    if refused:
        advice = "They are of another type and can't be changed: let workers empty them, and delete them."
        return [danger(check, f"not quorum queues: {', '.join(refused)}", advice)]
    return [judge(check, found, nodes < 3, "warning", "Name three nodes or more.")]


def confirmations(kind: str, *, are_awaited: bool) -> list[Finding]:
    """Whether publishers wait until a majority of the nodes has the message."""
    found = "awaited" if are_awaited else "not awaited"
    advice = "A message may be lost in a failover: set confirm_publish in the broker's transport options."
    check = "broker confirmations"
    return [judge(check, found, not are_awaited, "warning", advice)] if kind == "quorum" else []


def _rabbitmq_findings(connection: Connection) -> list[Finding]:
    if connection.transport.driver_type != "amqp":
        return []
    kind = str(app.conf.get("task_default_queue_type") or "classic")
    nodes = len(str(settings.CELERY_BROKER_URL).split(";"))
    refused = _refused_queues(connection) if kind == "quorum" else []
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    return [
        *queue_type(kind, nodes=nodes, refused=refused),
        *confirmations(kind, are_awaited=bool(options.get("confirm_publish"))),
    ]


def _refused_queues(connection: Connection) -> list[str]:
    """The queues that exist with other arguments than ours; declared as workers declare them."""
    refused = []
    for queue in app.amqp.queues.values():
        try:
            with connection.channel() as channel:
                queue(channel).queue_declare()
        except connection.channel_errors:
            refused.append(str(queue.name))
    return refused


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
