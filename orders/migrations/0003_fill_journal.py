"""Orders that are there already get their part of the journal, from what their sagas logged."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.db import migrations
from django.db.models import OuterRef, Subquery

BATCH = 1_000
ENDED = ("payment_failed", "cancelled", "expired")


def fill(apps: Any, schema_editor: Any) -> None:
    Saga, Payment = apps.get_model("orders", "Saga"), apps.get_model("payments", "Payment")
    orders = Payment.objects.filter(id=OuterRef("subject_id")).values("order_id")
    Saga.objects.filter(about_id__isnull=True).update(about_id=Subquery(orders[:1]))
    JournalLine = apps.get_model("shop", "JournalLine")
    lines = (JournalLine(actor="system", **line) for line in _lines(apps))
    while batch := list(islice(lines, BATCH)):
        JournalLine.objects.bulk_create(batch)


def _lines(apps: Any) -> Iterator[dict[str, Any]]:
    """Order by order, and for each by time: an order's lines are read in the order of their ids."""
    for order in apps.get_model("orders", "Order").objects.order_by("id").iterator(chunk_size=BATCH):
        steps = list(_steps(apps, order))
        told_at = next((line["at"] for line in steps if line["what"] == "transmit.done"), None)
        yield from sorted([*_ways(order, told_at), *steps], key=lambda line: line["at"])


def _ways(order: Any, told_at: Any) -> Iterator[dict[str, Any]]:
    """What the order came to. An event that the data platform hasn't accepted yet is left to the outbox."""
    common = {"order_id": order.id, "subject": f"order {order.id}"}
    yield {"at": order.placed_at, "what": "order.placed", **common}
    if order.paid_at:
        delivered = {"delivery": "delivered", "delivered_at": told_at}
        queued = {"delivery": "queued", "next_attempt_at": order.paid_at}
        told = delivered if told_at else queued
        yield {"at": order.paid_at, "what": "order.paid", "after": _facts(order), **told, **common}
    if order.status in ENDED:
        yield {"at": order.ended_at, "what": f"order.{order.status}", **common}


def _facts(order: Any) -> dict[str, Any]:
    return {
        "order": str(order.id),
        "account": order.account_id,
        "total_amount": order.total_amount,
        "points_amount": order.points_amount,
        "card_amount": order.card_amount,
        "currency": order.currency,
        "status": order.status,
    }


def _steps(apps: Any, order: Any) -> Iterator[dict[str, Any]]:
    log = apps.get_model("orders", "SagaLog").objects.filter(saga__about_id=order.id)
    for line in log.select_related("saga").order_by("id"):
        way = ".undo" if line.direction == "undo" else ""
        yield {
            "at": line.at,
            "what": f"{line.step}{way}.{line.event}",
            "order_id": order.id,
            "subject": f"{line.saga.kind} {line.saga.subject_id}",
            "detail": line.detail,
            "reference": line.reference,
            "is_internal": line.attempt > 0,
        }


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0002_refunds"),
        ("payments", "0001_initial"),
        ("shop", "0003_journal"),
    ]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
