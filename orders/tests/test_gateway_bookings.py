"""Refunds and disputes that begin at the gateway are booked: once, in any order, however they are learned."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.db.models import Sum

from coupons.models import Coupon
from events.models import FeedEvent
from foundation import clock
from foundation.db import transactions
from foundation.models import JournalLine
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.racing import race, wait_until
from foundation.tests.samples import Increases
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import selectors
from orders.models import Order, Refund, Saga
from orders.payment import gateway_bookings, gateway_events, refund_saga
from orders.placement.decisions import PlacedOrder
from orders.saga import rows as saga_rows
from orders.saga.definitions import DO, LEASE_LOST
from orders.saga.rows import SagaLogLine
from orders.tests import buying, hanging, owners
from orders.tests.buying import order_now, sell
from orders.tests.owners import charge_of, payment_of
from payments import ledger
from payments.gateways import gateway
from payments.models import GATEWAY_CLEARING, Dispute, Entry, WebhookEvent
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.schemas import payment_body
from payments.tests import events
from payments.tests.own_gateway import change_book, on_its_page

pytestmark = pytest.mark.django_db(transaction=True)


def refunds_of(placed: PlacedOrder) -> list[tuple[str, str, int, int]]:
    rows = Refund.objects.filter(order=placed.order.id).order_by("id")
    return [(row.source, row.status, row.points_amount, row.card_amount) for row in rows]


def hear(placed: PlacedOrder, type="charge.refunded") -> WebhookEvent:
    """An event about the order's charge, received and not handled yet."""
    return events.take(type=type, key=payment_of(placed).charge_key)


def handle(placed: PlacedOrder, type="charge.refunded") -> bool:
    return gateway_events.handle(hear(placed, type).id)


def reconcile():
    return reconciling.reconcile(fix=Fix.OURS)


def give_back(placed: PlacedOrder, amount: int):
    """A clerk's refund on the gateway's own page."""
    on_its_page("/refunds", charge=payment_of(placed).charge_reference, amount=amount)


def dispute(placed: PlacedOrder, amount: int) -> str:
    """The card's owner disputes this much of the charge."""
    return on_its_page("/disputes", charge=payment_of(placed).charge_reference, amount=amount)["id"]


def close(dispute_id: str, end: str):
    """The bank of the card's owner decides the dispute."""
    on_its_page(f"/disputes/{dispute_id}/close", status=end)


def race_without_errors(racers: Sequence[Callable[[], Any]]):
    assert [one for one in race(racers) if isinstance(one, BaseException)] == []


@pytest.fixture(autouse=True)
def _books_agree_in_the_end(own_gateway):
    yield
    assert_books_agree()


def assert_books_agree():
    """Every law holds, and the ledger's account at the gateway is what the gateway's book has."""
    assert buying.broken_laws() == []
    booked = Entry.objects.filter(account=GATEWAY_CLEARING).aggregate(total=Sum("amount"))["total"] or 0
    held = sum(
        charge.amount
        - charge.refunded_amount
        - sum(one.amount for one in charge.disputes if one.status == "lost")
        for charge in gateway().charges()
        if charge.status == "succeeded"
    )
    assert held == -booked


def test_a_whole_refund_at_the_gateway_makes_the_order_refunded():
    placed = sell()
    give_back(placed, 1_000)
    assert handle(placed)
    order = order_now(placed)
    assert (order.status, order.refunded_amount) == ("refunded", 1_000)
    assert refunds_of(placed) == [("gateway", "succeeded", 0, 1_000)]
    [refund] = Refund.objects.all()
    assert [(line.quantity, line.amount) for line in refund.lines.all()] == [(2, 1_000)]
    assert not refund.restock
    assert Product.objects.get().on_hand == 3, "only the shop knows where the goods are"
    assert "order.refunded" in [line.what for line in selectors.timeline(order.id, for_staff=False)]


@pytest.mark.parametrize("amount", [300, 999])
def test_a_part_is_booked_by_amount_and_the_shop_refunds_the_rest(amount):
    placed = sell()
    give_back(placed, amount)
    for _ in range(2):
        assert handle(placed)
    order = order_now(placed)
    assert (order.status, order.refunded_amount) == ("paid", amount)
    assert not Refund.objects.get().lines.exists()
    assert_books_agree()
    rest = buying.refunded(order)
    assert (rest.status, rest.card_amount) == ("succeeded", 1_000 - amount)
    assert [(line.quantity, line.amount) for line in rest.lines.all()] == [(2, 1_000 - amount)]
    assert order_now(placed).status == "refunded"
    assert Product.objects.get().on_hand == 5


def test_several_parts_add_up_and_the_last_one_ends_the_order():
    placed = sell(discount=100)
    for amount, status in ((300, "paid"), (200, "paid"), (400, "refunded")):
        give_back(placed, amount)
        assert handle(placed)
        assert buying.status_of(placed) == status
    assert [card for *_, card in refunds_of(placed)] == [300, 200, 400]
    assert Coupon.objects.get().status == "issued"


def test_points_are_left_to_the_shop():
    placed = sell(points=400)
    give_back(placed, 600)
    assert handle(placed)
    assert (order_now(placed).status, order_now(placed).refunded_amount) == ("paid", 600)
    rest = buying.refunded(placed.order)
    assert (rest.points_amount, rest.card_amount) == (400, 0)
    assert order_now(placed).status == "refunded"
    assert ledger.balance_amount(placed.order.account_id) == 1_000


def test_a_charge_of_which_a_part_was_given_back_before_its_own_reply_pays_no_order():
    placed = owners.order("tok_webhook")
    assert buying.advance(placed).status == "paying"
    payment = payment_of(placed)
    event = hear(placed)
    assert not gateway_events.handle(event.id)
    wait_until(lambda: charge_of(payment).status == "succeeded")
    reference = charge_of(payment).reference
    on_its_page("/refunds", charge=reference, amount=100)
    assert gateway_events.handle(event.id)
    assert (order_now(placed).status, payment_of(placed).status) == ("payment_failed", "reversed")
    assert charge_of(payment).kept_amount == 0


def test_events_reconciliations_and_look_ups_that_race_book_once():
    placed = sell()
    give_back(placed, 300)
    give_back(placed, 200)
    events_handled = [partial(gateway_events.handle, hear(placed).id) for _ in range(4)]
    looked_up = partial(gateway_bookings.look_up, payment_of(placed))
    race_without_errors([*events_handled, *[reconcile] * 3, *[looked_up] * 2])
    assert refunds_of(placed) == [("gateway", "succeeded", 0, 500)]
    assert order_now(placed).refunded_amount == 500


def test_refunds_of_the_shop_and_at_the_gateway_that_race_add_up():
    """The shop's refund of a unit and the clerk's of 300 at once, with events of both."""
    placed = sell()
    product = Product.objects.get()

    def refund_here():
        buying.refunded(placed.order, product)

    def refund_there():
        give_back(placed, 300)
        handle(placed)

    race_without_errors([refund_here, refund_there, *[partial(handle, placed)] * 2, reconcile])
    settle_all()
    assert order_now(placed).refunded_amount == 800
    gateway_made = sum(card for source, *_, card in refunds_of(placed) if source == "gateway")
    assert gateway_made == 300


def refund_unit(placed: PlacedOrder) -> Saga:
    """The saga of a refund of 500."""
    return Saga.objects.get(id=buying.refund(placed.order, Product.objects.get()).saga_id)


def get_stuck(away, *rows: Saga):
    """The gateway is away until the deadline of these sagas has passed."""
    away.take("GATEWAY_URL")
    for row in rows:
        hanging.let_stick(row)
    away.back()


@pytest.fixture
def stuck(away):
    """An order of 1,500, and its refund of 500, which is stuck; the worker of an attempt is gone."""
    placed = sell(units=3)
    row = refund_unit(placed)
    get_stuck(away, row)
    lost = SagaLogLine(row, "refund_card", DO, LEASE_LOST, attempt=9)
    transactions.run(lambda: saga_rows.write_lines([lost], at=clock.now()), transactions.KEYED)
    return placed, row


def refunded_there(placed: PlacedOrder) -> int:
    return charge_of(payment_of(placed)).refunded_amount


def test_a_stuck_refund_that_the_gateway_has_made_ends_by_itself(stuck, away):
    """Its reply was lost: it is no refund in place of another one, nor of the one that is stuck beside it."""
    placed, row = stuck
    key, charge = refund_saga.refund_key(Refund.objects.get()), payment_of(placed).charge_reference
    other = refund_unit(placed)
    get_stuck(away, other)
    assert gateway().refund(key=key, charge_reference=charge, amount=500).status == "succeeded"
    assert hanging.refusal(hanging.complete, other) == "gateway_disagrees"
    for each in (other, row):
        assert hanging.advance(each) == Saga.State.DONE
    assert (refunds_of(placed), refunded_there(placed)) == ([("staff", "succeeded", 0, 500)] * 2, 1_000)


@pytest.mark.parametrize(("act", "by_hand"), [(hanging.complete, []), (hanging.retry, ["gateway"])])
def test_a_stuck_refund_is_left_to_an_operator_where_as_much_was_given_back_by_hand(stuck, act, by_hand):
    """The event had the shop refund it at once, so that the customer got it twice."""
    placed, row = stuck
    give_back(placed, 500)
    assert not handle(placed)
    assert hanging.advance(row) == Saga.State.STUCK
    assert refunded_there(placed) == 500
    act(row)
    settle_all()
    assert refunds_of(placed) == [(source, "succeeded", 0, 500) for source in ["staff", *by_hand]]


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_stuck_refunds_an_operator_completes_the_one_that_was_given_back_by_hand(
    stuck, away, is_first
):
    """Neither could be completed, as both were not given back; one that was retried was paid twice."""
    placed, first = stuck
    second = refund_unit(placed)
    get_stuck(away, second)
    give_back(placed, 500)
    assert [hanging.advance(row) for row in (first, second)] == [Saga.State.STUCK] * 2
    by_hand, other = (first, second) if is_first else (second, first)
    hanging.complete(by_hand)
    # It is not settled yet, and what was given back is taken all the same.
    assert hanging.refusal(hanging.complete, other) == "gateway_disagrees"
    assert [hanging.advance(row) for row in (other, by_hand)] == [Saga.State.DONE] * 2
    assert (refunds_of(placed), refunded_there(placed)) == ([("staff", "succeeded", 0, 500)] * 2, 1_000)


@pytest.mark.parametrize(("later", "state"), [(0, Saga.State.DONE), (500, Saga.State.STUCK)])
def test_an_operators_retry_of_a_refund_is_kept_while_the_gateway_is_away_again(stuck, away, later, state):
    """It was forgotten; what is given back by hand after it may be in place of a refund, as before it."""
    placed, row = stuck
    rows = [row, refund_unit(placed)]
    get_stuck(away, rows[1])
    give_back(placed, 500)
    assert [hanging.advance(one) for one in rows] == [Saga.State.STUCK] * 2
    for one in rows:
        hanging.retry(one)
    get_stuck(away, *rows)
    if later:
        give_back(placed, later)
    assert [hanging.advance(one) for one in rows] == [state] * 2
    assert refunded_there(placed) == (1_000 if later else 1_500)
    for one in rows if later else []:
        hanging.complete(one)
    settle_all()
    assert handle(placed)


def test_what_was_given_back_by_hand_before_a_retry_is_known_without_the_journal(stuck, away):
    placed, row = stuck
    give_back(placed, 500)
    hanging.retry(row)
    JournalLine.objects.filter(subject=f"refund {row.subject_id}").delete()
    get_stuck(away, row)
    assert hanging.advance(row) == Saga.State.DONE
    assert refunded_there(placed) == 1_000
    assert handle(placed)


def give_up(row: Saga, *, before: Callable[[], None] = lambda: None):
    """Two operators end a refund that is stuck because the gateway refuses it."""
    hanging.let_stick(row)
    before()
    assert hanging.approve(hanging.complete(row)).status == "approved"


def settle_all():
    """Run recovery, and handle every event, until nothing is left."""
    buying.settle_everything()
    for id in WebhookEvent.objects.filter(handled_at__isnull=True).values_list("id", flat=True):
        gateway_events.handle(id)


def test_while_the_shops_refund_runs_only_what_it_can_not_be_is_booked():
    """It may have given back 500, or not yet: of 700 there, 200 are surely the gateway's own."""
    placed = sell()
    started = buying.refund(placed.order, Product.objects.get())
    give_back(placed, 700)
    payment = payment_of(placed)
    booked = gateway_bookings.book(
        payment.id, charge_of(payment), before=gateway_bookings.read_booked(payment.id)
    )
    assert booked == (False, "a refund of the shop is under way")
    assert refunds_of(placed) == [("staff", "pending", 0, 500), ("gateway", "succeeded", 0, 200)]
    settle_all()
    # 300 were left there: the shop's refund gives back these, and the rest of the 700 is booked.
    assert handle(placed)
    assert order_now(placed).refunded_amount == 1_000
    assert charge_of(payment).refunded_amount == 1_000
    reduced = reloaded(started.refund)
    assert refund_saga.refund_key(reduced) == f"refund-{reduced.id}-300"
    line = JournalLine.objects.get(what="refund.reduced", subject=f"refund {reduced.id}")
    assert (line.before["card_amount"], line.after["card_amount"]) == (500, 300)


@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.parametrize("given_back", [300, 1_000])
def test_a_refund_that_began_before_a_part_was_given_back_there_gives_the_rest(given_back, is_heard):
    """It used to stick: the gateway declined it for good, and the customer never got the rest."""
    placed = sell()
    started = buying.refund(placed.order)
    give_back(placed, given_back)
    if is_heard:
        handle(placed)
    settle_all()
    refund = reloaded(started.refund)
    assert (refund.status, refund.card_amount) == ("succeeded", 1_000 - given_back)
    assert sorted(refunds_of(placed)) == [
        ("gateway", "succeeded", 0, given_back),
        ("staff", "succeeded", 0, 1_000 - given_back),
    ]
    assert sum(line.amount for line in refund.lines.all()) == 1_000 - given_back
    assert buying.status_of(placed) == "refunded"
    assert charge_of(payment_of(placed)).refunded_amount == 1_000
    assert Product.objects.get().on_hand == 5
    assert not Saga.objects.filter(ended_at__isnull=True).exists()


def test_two_refunds_under_way_share_what_the_gateway_has_left():
    placed = sell()
    started = [buying.refund(placed.order, Product.objects.get()) for _ in range(2)]
    give_back(placed, 600)
    settle_all()
    assert handle(placed)
    assert sum(reloaded(one.refund).card_amount for one in started) == 400
    assert order_now(placed).refunded_amount == 1_000


def test_a_reconciliation_books_what_no_event_told():
    placed = sell()
    give_back(placed, 300)
    [finding] = reconciling.reconcile().findings
    assert (finding["kind"], finding["done"]) == ("wrong_refunds", "")
    assert refunds_of(placed) == [], "without a fix it only says so"
    run = reconcile()
    assert [one["done"] for one in run.findings] == ["booked"]
    assert reconciling.is_clean(run)
    assert refunds_of(placed) == [("gateway", "succeeded", 0, 300)]


def test_a_row_that_can_not_be_booked_ends_no_comparison():
    bad, good = sell(), sell()
    for placed in (bad, good):
        give_back(placed, 300)
    buying.change_order(bad.order, status=Order.Status.REFUNDED)
    run = reconcile()
    done = {one["key"]: one["done"] for one in run.findings}
    assert done == {payment_of(bad).charge_key: "failed", payment_of(good).charge_key: "booked"}
    assert (run.unread, refunds_of(good)) == ("", [("gateway", "succeeded", 0, 300)])
    buying.change_order(bad.order, status=Order.Status.PAID)
    assert reconciling.is_clean(reconcile())


@pytest.mark.parametrize("change", [{"amount": 999}, {"currency": "USD"}])
def test_a_charge_that_is_not_the_payments_is_refused_and_noted(change):
    placed = sell()
    give_back(placed, 300)
    payment = payment_of(placed)
    found = replace(charge_of(payment), **change)
    for _ in range(2):
        assert gateway_bookings.book(payment.id, found, before=gateway_bookings.read_booked(payment.id)) == (
            True,
            "refused: the charge is not the payment's",
        )
    assert refunds_of(placed) == []
    [line] = JournalLine.objects.filter(what="charge.disagrees")
    assert (line.order_id, line.is_internal) == (placed.order.id, True)
    assert "nothing was booked" in line.detail
    assert handle(placed)


def shown(placed: PlacedOrder):
    body = payment_body(payment_of(placed), disputes=payment_of(placed).disputes.all())["dispute"]
    return body and (body["status"], body["amount"])


def fed(placed: PlacedOrder) -> list[str]:
    rows = FeedEvent.objects.filter(order_id=placed.order.id, type__startswith="payment.")
    return list(rows.order_by("id").values_list("type", flat=True))


def test_a_dispute_holds_its_part_until_it_is_won():
    placed = sell()
    id = dispute(placed, 600)
    assert handle(placed, "charge.disputed")
    assert shown(placed) == ("open", 600)
    assert Dispute.objects.get().due_at
    [line] = JournalLine.objects.filter(what="payment.disputed")
    assert (line.order_id, line.detail, line.is_internal) == (placed.order.id, "600 disputed", False)
    part = buying.refunded(placed.order)
    assert (part.card_amount, order_now(placed).status) == (400, "paid")
    assert buying.refusal_of(lambda: buying.refund(placed.order)).code == "nothing_to_refund"
    assert_books_agree()
    close(id, "won")
    assert handle(placed, "dispute.closed")
    assert shown(placed) == ("won", 600)
    rest = buying.refunded(placed.order)
    assert (rest.card_amount, order_now(placed).status) == (600, "refunded")
    assert fed(placed) == ["payment.disputed", "payment.dispute_closed"]


@pytest.mark.parametrize("others", [[], [200]], ids=["the only one", "beside an open one, which is shown"])
def test_a_lost_dispute_is_booked_as_a_loss_and_leaves_the_rest(others):
    placed, held = sell(points=200), sum(others)
    id = dispute(placed, 300)
    for amount in others:
        dispute(placed, amount)
    handle(placed, "charge.disputed")
    close(id, "lost")
    assert handle(placed, "dispute.closed")
    assert shown(placed) == (("open", held) if others else ("lost", 300))
    assert (order_now(placed).status, order_now(placed).refunded_amount) == ("paid", 0)
    assert_books_agree()
    rest = buying.refunded(placed.order)
    assert (rest.points_amount, rest.card_amount) == (200, 500 - held)
    assert (order_now(placed).status, order_now(placed).refunded_amount) == ("paid", 700 - held)


@pytest.mark.parametrize("end", ["won", "lost"])
def test_the_end_of_a_dispute_may_be_heard_before_its_beginning(end):
    placed = sell()
    close(dispute(placed, 1_000), end)
    for type in ("dispute.closed", "charge.disputed", "dispute.closed"):
        assert handle(placed, type)
    assert shown(placed) == (end, 1_000)
    assert fed(placed) == ["payment.disputed", "payment.dispute_closed"]


def test_events_and_reconciliations_that_race_book_a_dispute_once():
    placed = sell()
    close(dispute(placed, 400), "lost")
    ids = [hear(placed, type).id for type in ("charge.disputed", "dispute.closed") * 3]
    race_without_errors([*(partial(gateway_events.handle, id) for id in ids), reconcile, reconcile])
    assert [(one.status, one.amount) for one in Dispute.objects.all()] == [("lost", 400)]
    assert fed(placed) == ["payment.disputed", "payment.dispute_closed"]


def test_a_look_up_that_came_too_late_does_not_open_a_dispute_again():
    placed = sell()
    id, payment = dispute(placed, 1_000), payment_of(placed)
    stale = charge_of(payment)
    close(id, "lost")
    assert handle(placed, "dispute.closed")
    gateway_bookings.book(payment.id, stale, before=gateway_bookings.read_booked(payment.id))
    assert shown(placed) == ("lost", 1_000)


@pytest.mark.parametrize(("end", "rest"), [("won", 1_000), ("lost", 400), ("", 0), ("", 300)])
def test_a_refund_under_way_waits_for_the_dispute_of_its_part(end, rest):
    """One that operators end before is left with what was given back of it by hand."""
    placed = sell()
    started = buying.refund(placed.order)
    id = dispute(placed, 600)
    assert buying.execute_refund(started).status == "pending"
    assert shown(placed) == ("open", 600), "the declined refund told of it"
    assert_books_agree()
    if end:
        close(id, end)
        assert handle(placed, "dispute.closed")
    else:
        by_hand = partial(give_back, placed, rest) if rest else lambda: None
        give_up(Saga.objects.get(id=started.saga_id), before=by_hand)
    settle_all()
    refund = reloaded(started.refund)
    assert (refund.status, refund.card_amount) == ("succeeded", rest)
    assert order_now(placed).refunded_amount == rest


def test_a_refund_there_and_a_lost_dispute_leave_the_books_equal():
    placed = sell()
    started = buying.refund(placed.order)
    give_back(placed, 300)
    close(dispute(placed, 200), "lost")
    settle_all()
    assert reloaded(started.refund).card_amount == 500
    assert order_now(placed).refunded_amount == 800


def test_an_announced_dispute_that_the_gateway_does_not_show_is_on_the_time_line():
    """The gateway may show it later: the event is tried again, and its word alone moves nothing."""
    placed = sell()
    event = hear(placed, "charge.dispute.created")
    assert not gateway_events.handle(event.id)
    assert not gateway_events.handle(event.id)
    lines = [line.what for line in selectors.timeline(placed.order.id, for_staff=True)]
    assert lines.count("payment.dispute_unconfirmed") == 1
    assert shown(placed) is None
    set_columns(event, attempts=gateway_events.MAX_ABSENT_LOOKUPS)
    assert gateway_events.handle(event.id)


@pytest.mark.parametrize(("spent", "left"), [(0, 800), (900, 0)])
def test_a_top_up_that_is_given_back_takes_the_points_that_are_left(spent, left):
    payment = buying.top_up(buying.account(points=100), 1_000)
    if spent:
        product = ProductFactory(on_hand=1, price=spent)
        buying.buy(payment.account_id, product, points=spent, token="")
    increases = Increases("firstcome_points_total")
    on_its_page("/refunds", charge=payment.charge_reference, amount=300)
    for _ in range(2):
        assert gateway_events.handle(events.take(type="charge.refunded", key=payment.charge_key).id)
    assert ledger.balance_amount(payment.account_id) == left
    assert increases() == {'firstcome_points_total{movement="forfeited"}': 1_100 - spent - left}
    assert reloaded(payment).refunded_amount == 300


def test_a_lost_dispute_of_a_top_up_takes_the_points_and_one_won_after_all_returns_them(gateway_process):
    payment = buying.top_up(buying.account(points=100), 1_000)
    close(on_its_page("/disputes", charge=payment.charge_reference)["id"], "lost")
    assert gateway_events.handle(events.take(type="dispute.closed", key=payment.charge_key).id)
    assert ledger.balance_amount(payment.account_id) == 100
    assert_books_agree()
    change_book(gateway_process[1], "UPDATE disputes SET status = 'won'")
    gateway_bookings.book(payment.id, charge_of(payment), before=gateway_bookings.read_booked(payment.id))
    assert ledger.balance_amount(payment.account_id) == 1_100
