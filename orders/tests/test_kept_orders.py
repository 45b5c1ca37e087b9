"""Orders that are kept to be paid with another card, and those whose total is not what the page showed."""

import threading
from collections import Counter
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction

from accounts.tests.clients import client_of, new_customer, problem_of
from coupons.models import Coupon
from foundation import clock
from foundation.db import bulk_sql
from foundation.db.transactions import is_conflict
from foundation.errors import FirstcomeError, Rejected
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests.constraints import without_constraint
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago
from foundation.tests.racing import race
from inventory.models import Product
from inventory.tests.factories import ProductFactory, levels_of
from orders import cancellation
from orders.models import Order, Saga
from orders.payment import charging, purchase
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, owners, stepping
from orders.tests.owners import payment_of
from payments import ledger, rows
from payments.gateways import gateway
from payments.models import Payment, Transfer
from payments.tests.own_gateway import nobody_there

pytestmark = pytest.mark.django_db(transaction=True)
UNIQUE = "payments_payment_one_not_failed_per_order"


def pay(order_id: UUID, token: str, *, keep_on_decline=True) -> UUID:
    """Start another payment of the order; returns its saga."""
    account_id = Order.objects.get(id=order_id).account_id
    of = {"account_id": account_id, "order_id": order_id, "keyed": buying.keyed(account_id)}
    started = purchase.pay(**of, token=token, keep_on_decline=keep_on_decline)
    assert isinstance(started, charging.StartedPayment)
    return started.saga.id


def pay_and_advance(order_id: UUID, token: str, **more) -> str:
    stepping.advance(pay(order_id, token, **more))
    return buying.state_of(order_id)


def kept(**wanted) -> PlacedOrder:
    """An order whose first card was refused, with a coupon and 100 of its account's 400 points."""
    buyer = buying.account(points=400)
    code = buying.coupon_code(buyer, discount_value=100)
    placed = owners.order(
        "tok_declined", buyer=buyer, coupon=code, points=100, keep_on_decline=True, **wanted
    )
    assert buying.advance(placed).status == "awaiting_payment"
    return placed


def test_the_refund_is_of_the_card_that_paid_whatever_the_clock_of_its_host(monkeypatch):
    placed, real = kept(), rows.uuid7
    # A host that is a minute behind: its payment has the smaller id.
    monkeypatch.setattr(rows, "uuid7", lambda: UUID(int=real().int - (60_000 << 80)))
    assert pay_and_advance(placed.order.id, "tok_ok") == "paid"
    assert buying.refunded(placed.order).status == "succeeded"


def new_payment(order, *, number=2) -> Payment:
    return rows.new_payment(order=order, token="tok_ok", at=clock.now(), number=number)


def refusal(order_id: UUID) -> FirstcomeError:
    return buying.refusal_of(pay, order_id, "tok_ok", kind=Rejected)


def test_a_refused_card_leaves_the_order_with_its_stock_and_coupon_and_gives_the_points_back():
    placed = kept()
    order, payment = buying.order_now(placed), payment_of(placed)
    assert (payment.status, payment.failure_code, payment.number) == ("failed", "card_declined", 1)
    assert (order.failure_code, order.ended_at, order.expires_at) == ("", None, placed.order.expires_at)
    assert Product.objects.get().reserved == 1
    assert Coupon.objects.get().status == "held"
    assert ledger.balance_amount(order.account_id) == 400
    said = JournalLine.objects.filter(order_id=order.id).values_list("what", flat=True)
    assert {"reserve_inventory.undo.skipped", "hold_coupon.undo.skipped", "order.kept"} <= set(said)


def test_it_is_paid_with_another_card_and_refunded_as_any_order():
    placed = kept()
    assert pay_and_advance(placed.order.id, "tok_insufficient_funds") == "awaiting_payment"
    assert pay_and_advance(placed.order.id, "tok_ok", keep_on_decline=False) == "paid"
    payments = Payment.objects.filter(order=placed.order.id).order_by("number")
    assert [(one.number, one.status) for one in payments] == [(1, "failed"), (2, "failed"), (3, "succeeded")]
    assert len({one.charge_key for one in payments}) == 3
    declined = [payment.account_id for payment in Payment.objects.exclude(declined_at=None)]
    assert declined == [placed.order.account_id] * 2, "every refused card counts"
    kinds = Counter(Transfer.objects.filter(order=placed.order.id).values_list("kind", flat=True))
    assert kinds == {"hold": 3, "release": 2, "sale": 1}
    assert ledger.balance_amount(placed.order.account_id) == 300
    assert [one.kept_amount for one in gateway().charges(order_id=placed.order.id)] == [0, 0, 300]
    assert buying.broken_laws() == []
    refund = buying.refunded(placed.order)
    assert (refund.status, refund.amount, refund.card_amount) == ("succeeded", 400, 300)
    assert sum(one.kept_amount for one in gateway().charges(order_id=placed.order.id)) == 0


def test_without_the_flag_the_next_refused_card_ends_it():
    placed = kept()
    assert pay_and_advance(placed.order.id, "tok_declined", keep_on_decline=False) == "payment_failed"
    assert Product.objects.get().reserved == 0
    assert Coupon.objects.get().status == "issued"
    assert ledger.balance_amount(placed.order.account_id) == 400


def test_a_payment_that_is_given_up_ends_the_order_all_the_same(settings):
    """Only a decline says for certain that nothing can be charged any more."""
    placed = owners.order("tok_error", keep_on_decline=True)
    assert buying.advance(placed).status == "paying"
    Saga.objects.update(deadline_at=clock.now())
    buying.settle_everything()
    assert buying.status_of(placed) == "payment_failed"
    waiting = owners.waiting(keep_on_decline=True)
    owners.let_action_end(payment_of(waiting).id)
    assert buying.advance(waiting).status == "payment_failed"


def test_missing_points_are_no_declined_card():
    buyer = buying.account(points=100)
    placed, other = (owners.order("tok_ok", buyer=buyer, points=100, keep_on_decline=True) for _ in range(2))
    assert buying.advance(placed).status == "paid"
    assert buying.advance(other).status == "payment_failed"
    assert buying.order_now(other).failure_code == "insufficient_points"


def test_while_the_first_card_is_in_doubt_or_asks_its_owner_a_second_one_is_refused(settings):
    placed = owners.order("tok_ok", keep_on_decline=True)
    with nobody_there(settings):
        assert buying.advance(placed).status == "paying"
    assert payment_of(placed).status == "in_doubt"
    assert refusal(placed.order.id).extra == {"reason": "not_awaiting_payment"}
    waiting = owners.waiting(keep_on_decline=True)
    assert refusal(waiting.order.id).extra == {"reason": "not_awaiting_payment"}
    assert Payment.objects.filter(number__gt=1).count() == 0


def test_a_decline_after_the_order_s_time_leaves_it_expired_and_the_sweep_releases_it():
    placed = owners.order("tok_declined", keep_on_decline=True)
    buying.change_order(placed.order, expires_at=ago(seconds=1))
    assert cancellation.expire_due() == 0, "it is being paid"
    assert buying.advance(placed).status == "awaiting_payment"
    assert refusal(placed.order.id).code == "order_not_payable"
    assert cancellation.expire_due() == 1
    assert buying.status_of(placed) == "expired"
    assert Product.objects.get().reserved == 0


def test_a_kept_order_can_be_cancelled_between_two_cards():
    placed = kept()
    pay_again = pay(placed.order.id, "tok_declined")
    with pytest.raises(Rejected, match="being paid"):
        buying.cancel(placed)
    stepping.advance(pay_again)
    buying.cancel(placed)
    assert buying.status_of(placed) == "cancelled"
    assert Coupon.objects.get().status == "issued"
    assert refusal(placed.order.id).extra == {"reason": "not_awaiting_payment"}


def test_ten_second_cards_at_once_are_one_payment_that_is_not_failed():
    placed = kept()
    outcomes = race([lambda: pay(placed.order.id, "tok_ok")] * 10)
    assert buying.kinds(outcomes) == {"UUID": 1, "order_not_payable": 9}
    assert Payment.objects.filter(order=placed.order.id).exclude(status="failed").count() == 1
    buying.settle_everything()
    assert buying.status_of(placed) == "paid"


def test_checking_for_an_open_payment_without_the_lock_is_stopped_by_the_constraint(unlawful):
    """The naive twin: both see no open payment, and both insert one; the database refuses one of them.

    The failed payment's entry in the constraint's index stays, marked as deleted, until it is purged. Both
    may lock it at the same moment, each before the other's insertion: the server then refuses one as a
    deadlock.
    """
    placed = kept()
    order = buying.order_now(placed)
    both_looked = threading.Barrier(2, timeout=10)

    def insert():
        with transaction.atomic():
            is_free = not order.payments.exclude(status="failed").exists()
            both_looked.wait()
            assert is_free
            bulk_sql.insert_objects([new_payment(order)])
        return "inserted"

    outcomes = race([insert] * 2)
    assert outcomes.count("inserted") == 1, outcomes
    [error] = [one for one in outcomes if one != "inserted"]
    assert (isinstance(error, IntegrityError) and UNIQUE in str(error)) or is_conflict(error), error
    assert order.payments.exclude(status="failed").count() == 1


def test_without_the_constraint_the_audit_names_an_order_with_two_payments_that_are_not_failed():
    placed = owners.order("tok_ok")
    assert buying.advance(placed).status == "paid"
    order = buying.order_now(placed)
    with without_constraint(Payment, UNIQUE, lambda: Payment.objects.filter(order=order, number=2).delete()):
        second = new_payment(order)
        second.status, second.settled_at, second.charge_reference = "succeeded", clock.now(), "ch_second"
        second.token = ""
        second.save(force_insert=True)
        broken = {report.law: report.offenders for report in buying.broken_laws()}
        assert str(order.id) in broken["L9"]


def test_a_failed_payment_frees_its_order_and_a_reversed_one_does_not():
    failed = buying.order_now(kept())
    again = new_payment(failed)
    with transaction.atomic():
        bulk_sql.insert_objects([again])
    again.refresh_from_db()
    assert again.unfailed_order_id == failed.id
    assert rows.payments_of([failed.id])[failed.id][0].unfailed_order_id is None
    set_columns(again, status="reversed", settled_at=clock.now(), token="")
    with pytest.raises(IntegrityError, match=UNIQUE), transaction.atomic():
        new_payment(failed, number=3).save(force_insert=True)


@pytest.fixture
def product():
    return ProductFactory(on_hand=10, price=5_000)


def buy(api, product, key="a key", **more):
    body = buying.order_of(product, "tok_ok", quantity=2, **more)
    return api.post("/orders", body, key=key, Prefer="wait=0")


@buying.by_two_strategies
def test_an_order_whose_total_rose_before_the_click_is_refused_and_nothing_is_done(strategy, product):
    api = new_customer()
    set_columns(product, price=7_500)

    answer = buy(api, product, expected_total_amount=10_000)

    assert problem_of(answer) == (409, "total_changed")
    assert answer.json()["total_amount"] == 15_000
    assert not Order.objects.exists() and not IdempotencyKey.objects.exists()
    assert list(gateway().charges()) == []
    assert levels_of(product)[1] == 0
    assert buy(api, product, expected_total_amount=15_000).status_code == 202


def test_the_total_is_that_after_the_discount_and_a_lower_one_is_refused_as_well(product):
    buyer = buying.account()
    coupon, api = buying.coupon_of(buyer, discount_value=1_000), client_of(buyer)
    for expected in (10_000, 8_999, 0):
        refused = buy(api, product, coupon=coupon.code, expected_total_amount=expected)
        assert refused.json()["total_amount"] == 9_000
    assert Coupon.objects.get().status == Coupon.Status.ISSUED

    assert buy(api, product, coupon=coupon.code, expected_total_amount=9_000).status_code == 202


@pytest.mark.parametrize("around", [" ", "\t", "\u00a0", "\u200b", "\ufeff", " \u200b\u00a0 "], ids=ascii)
def test_white_space_round_a_coupons_code_is_no_part_of_it(around, product):
    buyer = buying.account()
    code = buying.coupon_code(buyer, discount_value=1_000)
    assert buy(client_of(buyer), product, coupon=f"{around}{code}{around}").status_code == 202
    assert Order.objects.get().coupon_code == code
