"""L12 over ranges of deliveries: each damage of the log is named, and what a range says is shown."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from events.feed import reading, runs
from events.models import BUILT_IN, FeedEvent, WebhookDelivery, WebhookEndpoint
from events.tests.delivering import dead, deliver_all
from events.webhooks import deliveries, ranges
from foundation.models import JournalLine
from foundation.tests.journal_lines import journal_line
from foundation.tests.waiting import shifted
from inventory.tests.factories import ProductFactory
from orders import audit, selectors
from orders.models import Order
from orders.tests import buying

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unlawful")]


@pytest.fixture
def paid():
    """Four orders whose events were delivered: the first two by a range, one by a row, and one more pair."""
    product = ProductFactory(on_hand=9)
    orders = []
    for number in (2, 1, 2):
        for _ in range(number):
            orders.append(buying.advance(buying.place_for_newcomer(product, 1, token="tok_ok")))
        deliver_all()
    assert [row.first_position is None for row in WebhookDelivery.objects.order_by("pk")] == [
        False,
        True,
        False,
    ]
    assert offenders() == set()
    return orders


def offenders() -> set[str]:
    """What L12 finds, of all orders, and of them in chunks, which must agree."""
    whole = audit.paid_orders_were_published().offenders
    ids = list(Order.objects.order_by("pk").values_list("pk", flat=True))
    chunks = [audit.paid_orders_were_published(ids[:2]), audit.paid_orders_were_published(ids[2:])]
    assert sorted(whole) == sorted(name for one in chunks for name in one.offenders)
    return set(whole)


def place_of(order) -> int:
    return runs.with_positions().get(order_id=order.pk, type="order.paid").feed_position


def range_of(order) -> QuerySet[WebhookDelivery]:
    place = place_of(order)
    return WebhookDelivery.objects.filter(first_position__lte=place, position__gte=place)


DAMAGE: dict[str, tuple[Callable[[list[Order]], object], list[int]]] = {
    "a range is lost": (lambda orders: range_of(orders[0]).delete(), [0, 1]),
    "a range begins too late": (
        lambda orders: range_of(orders[0]).update(first_position=place_of(orders[0]) + 1),
        [0],
    ),
    "a range ends too early": (
        lambda orders: range_of(orders[1]).update(position=place_of(orders[1]) - 1),
        [1],
    ),
    "a range's patterns choose another type": (
        lambda orders: range_of(orders[0]).update(patterns=["coupon.*", "order.refunded"]),
        [0, 1],
    ),
    "a range's patterns are lost": (lambda orders: range_of(orders[0]).update(patterns=None), [0, 1]),
    "a range was not delivered": (
        lambda orders: range_of(orders[0]).update(status="failed", delivered_at=None),
        [0, 1],
    ),
    "a range is another endpoint's": (lambda orders: give_away(range_of(orders[3])), [3, 4]),
    "a row is lost": (lambda orders: WebhookDelivery.objects.filter(first_position=None).delete(), [2]),
    "an event of a range was given up": (lambda orders: give_up(orders[1]), [1]),
    "its line of the journal is lost": (
        lambda orders: JournalLine.objects.filter(order_id=orders[0].pk, what="order.paid").delete(),
        [0],
    ),
    "a range reaches over another": (
        lambda orders: range_of(orders[0]).update(position=place_of(orders[4])),
        [],
    ),
    "a range reaches over one that is lost": (
        lambda orders: (
            range_of(orders[3]).delete(),
            range_of(orders[0]).update(position=place_of(orders[4])),
        ),
        [],
    ),
}


def give_away(rows: QuerySet[WebhookDelivery]):
    other = WebhookEndpoint.objects.create(
        url="https://receiver.example/", events=["*"], secret="whsec_AAAA", created_at="2026-01-01T00:00:00Z"
    )
    rows.update(endpoint=other)


def give_up(order):
    event = FeedEvent.objects.get(order_id=order.pk, type="order.paid")
    dead(order_id=order.pk, event_id=event.event_id, position=place_of(order))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damage_of_the_log_is_named_by_the_orders_that_it_concerns(paid, damage):
    work, named = DAMAGE[damage]
    work(paid)
    assert offenders() == {str(paid[index].pk) for index in named}


def test_what_waits_for_the_platform_is_not_lost_nor_what_is_sent_again(paid, settings):
    late = buying.advance(buying.place_for_newcomer(ProductFactory(on_hand=1), 1, token="tok_ok"))
    assert offenders() == set()
    deliveries.resend(endpoint_id=BUILT_IN, delivery_id=ranges.OPENED + place_of(paid[0]))
    deliveries.resend_order(order_id=paid[1].pk, reason="lost there")
    assert offenders() == set()
    [row] = deliveries.of_order(late.pk)
    assert (row.pk, row.status) == (None, "pending")


def test_events_of_ranges_that_were_deleted_after_the_retention_are_not_lost(paid, settings):
    with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
        assert reading.delete_old() > 0
        assert offenders() == set()
        assert deliveries.delete_old() == 3
        assert offenders() == set()


def test_an_audit_whose_events_are_deleted_meanwhile_finds_nothing(paid, settings, monkeypatch):
    in_ranges = deliveries.in_ranges

    def delete_before(event_ids):
        with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
            reading.delete_old()
            deliveries.delete_old()
        return in_ranges(event_ids)

    monkeypatch.setattr(deliveries, "in_ranges", delete_before)
    assert audit.paid_orders_were_published().offenders == []


def test_events_are_looked_for_in_all_ranges_by_the_same_few_statements(paid):
    named = [FeedEvent.objects.get(order_id=order.pk, type="order.paid").event_id for order in paid]
    found = deliveries.in_ranges(named)
    assert [named.index(id) for id in found] == [0, 1, 3, 4], "the third has a row"
    counts = []
    for event_ids in (named[:1], named):
        with CaptureQueriesContext(connection) as captured:
            deliveries.in_ranges(event_ids)
        counts.append(len(captured))
    assert counts == [4, 4]


def test_events_far_apart_are_looked_for_by_statements_of_their_own(paid, monkeypatch):
    monkeypatch.setattr(ranges, "APART", 0)
    named = [FeedEvent.objects.get(order_id=order.pk, type="order.paid").event_id for order in paid]
    assert [named.index(id) for id in deliveries.in_ranges(named)] == [0, 1, 3, 4]


def test_the_timeline_and_the_page_of_an_order_say_when_a_range_was_delivered(paid):
    [of_range] = range_of(paid[0])
    for order, delivered_at in ((paid[0], of_range.delivered_at), (paid[2], None)):
        [event] = deliveries.of_order(order.pk)
        assert (event.status, event.attempts) == ("delivered", 1)
        assert delivered_at in (None, event.delivered_at)
        lines = selectors.timeline(order.pk, for_staff=True)
        assert [line.at for line in lines if line.what == selectors.DELIVERED] == [event.delivered_at]


def test_all_events_of_an_order_are_sent_again_with_rows_of_their_own(paid):
    order = paid[0]
    assert deliveries.resend_order(order_id=order.pk, reason="lost there") == 1
    row = WebhookDelivery.objects.get(order_id=order.pk)
    assert (row.status, row.position) == ("pending", place_of(order))
    line = journal_line("event.resent")
    assert (line.before["status"], "delivered_at" in line.before) == ("delivered", True)
    deliver_all()
    assert [event.status for event in deliveries.of_order(order.pk)] == ["delivered"]
    assert offenders() == set()
