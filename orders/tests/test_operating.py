"""What operators may do about sagas: on real orders and simulators, with the laws checked after each."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from coupons.models import Coupon
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import operating, saga, standing, steps, top_ups
from orders.models import Order, Saga, SagaLog
from orders.steps import DO, UNDO, Event
from orders.tests import buying
from payments import ledger
from payments.gateways import breaking, gateway
from payments.models import Payment
from scripts import ports
from shop.errors import FirstcomeError
from shop.idempotency import Keyed, key_hash
from shop.journal import Actor, Who
from shop.models import JournalLine
from shop.tests.racing import race, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
ADA = Who(actor=Actor.STAFF, name="ada", request_id="request-1")


@pytest.fixture(autouse=True)
def _impatient(settings: LazySettings) -> None:
    """Some cards never get a reply."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5


@pytest.fixture
def product() -> Product:
    return ProductFactory.create(on_hand=10, price=1_000)


@pytest.fixture
def away(settings: LazySettings) -> Any:
    """Takes the gateway or the data platform away; `back` brings it back."""

    class Away:
        def take(self, setting: str) -> None:
            self.setting, self.address = setting, getattr(settings, setting)
            setattr(settings, setting, f"http://{ports.HOST}:{ports.free()}")

        def back(self) -> None:
            setattr(settings, self.setting, self.address)
            breaking.forget()

    return Away()


def begun(product: Product, token: str = "tok_ok", points: int = 100) -> Saga:
    """The saga of a new order with a coupon and points, that nobody drove yet."""
    buyer = buying.account(points=points)
    coupon = buying.coupon_of(buyer.id, discount_value=200).code
    placed = buying.place(buyer.id, {product: 1}, coupon=coupon, points=points, token=token)
    assert placed.started
    return placed.started.saga


def again(row: Saga) -> Saga:
    return Saga.objects.get(id=row.id)


def late(row: Saga) -> None:
    Saga.objects.filter(id=row.id).update(deadline_at=timezone.now() - timedelta(seconds=1))


def advance(row: Saga) -> str:
    return saga.advance(row.id)


def order_of(row: Saga) -> Order:
    return Order.objects.get(id=row.about_id)


def payment_of(row: Saga) -> Payment:
    return Payment.objects.get(id=row.subject_id)


def retry(row: Saga, **more: Any) -> Saga:
    return operating.retry(saga_id=row.id, **{"reason": "looked into it", "by": ADA} | more)


def compensate(row: Saga, **more: Any) -> Saga:
    return operating.force_compensate(saga_id=row.id, **{"reason": "customer asked", "by": ADA} | more)


def complete(row: Saga, **more: Any) -> Saga:
    return operating.force_complete(saga_id=row.id, **{"reason": "seen by hand", "by": ADA} | more)


def refusal(work: Any, row: Saga, **more: Any) -> str:
    """The code of the refusal, after which the saga is as it was."""
    before = Saga.objects.values().get(id=row.id)
    with pytest.raises(FirstcomeError) as caught:
        work(row, **more)
    assert Saga.objects.values().get(id=row.id) == before
    return caught.value.code


def untold(product: Product, away: Any) -> Saga:
    """A saga that is stuck at the data platform: paid, and late."""
    row = begun(product)
    away.take("DATA_PLATFORM_URL")
    advance(row)
    late(row)
    assert advance(row) == Saga.State.STUCK
    return row


def in_doubt(product: Product, token: str = "tok_timeout_charged") -> Saga:
    row = begun(product, token)
    assert advance(row) == Saga.State.RUNNING
    assert payment_of(row).status == "in_doubt"
    return row


def never_undone(product: Product, away: Any, token: str = "tok_error") -> Saga:
    """A saga that gave up while the gateway was away, so that nobody knows of the charge."""
    row = begun(product, token)
    advance(row)
    away.take("GATEWAY_URL")
    late(row)
    assert advance(row) == Saga.State.STUCK
    assert again(row).direction == UNDO
    return row


def journalled(row: Saga, what: str) -> list[JournalLine]:
    return list(JournalLine.objects.filter(order_id=row.about_id, what=what))


def test_a_stuck_saga_is_listed_with_all_an_operator_needs(product: Product, away: Any) -> None:
    fine, row = begun(product), untold(product, away)
    [told] = standing.stuck()
    assert (told.saga_id, told.kind, told.order_id) == (row.id, "purchase", row.about_id)
    assert (told.state, told.direction, told.step, told.is_local) == ("stuck", DO, "transmit", False)
    assert told.attempts == again(row).attempts > 0
    assert told.last_error
    assert told.late_since == again(row).deadline_at
    assert [one.saga_id for one in standing.unfinished()] == [row.id, fine.id]
    assert [one.step for one in standing.unfinished()] == ["transmit", "debit_balance"]
    assert standing.count_stuck()["purchase"] == 1


def test_stuck_sagas_are_told_by_kind_at_each_look_at_the_metrics(product: Product, away: Any) -> None:
    assert 'firstcome_sagas_stuck{kind="purchase"} 0.0' in Client().get("/metrics").content.decode()
    row = untold(product, away)
    told = Client().get("/metrics").content.decode()
    assert 'firstcome_sagas_stuck{kind="purchase"} 1.0' in told
    assert 'firstcome_sagas_stuck{kind="top_up"} 0.0' in told
    retry(row)
    assert 'firstcome_sagas_stuck{kind="purchase"} 0.0' in Client().get("/metrics").content.decode()


def test_a_late_saga_that_nobody_looked_at_is_listed_too(product: Product) -> None:
    row = begun(product)
    late(row)
    assert [one.saga_id for one in standing.stuck()] == [row.id]
    assert standing.count_stuck()["purchase"] == 0


def test_a_retried_saga_runs_again_with_a_new_deadline_and_ends(product: Product, away: Any) -> None:
    row = untold(product, away)
    away.back()
    retried = retry(row)
    assert retried.state == Saga.State.RUNNING
    assert retried.deadline_at > timezone.now()
    assert saga.due(limit=10) == [row.id]
    assert advance(row) == Saga.State.DONE
    [line] = journalled(row, "saga.retried")
    assert (line.actor, line.actor_name, line.request_id) == ("staff", "ada", "request-1")
    assert (line.detail, line.is_internal) == ("looked into it", True)
    assert (line.before, line.after) == (
        {"state": "stuck", "direction": "do"},
        {"state": "running", "direction": "do"},
    )
    assert buying.broken_laws() == []


def test_what_is_still_wrong_after_a_retry_is_stuck_again(product: Product, away: Any) -> None:
    row = untold(product, away)
    retry(row)
    assert advance(row) == Saga.State.RUNNING
    late(row)
    assert advance(row) == Saga.State.STUCK


def test_an_ended_saga_is_not_retried(product: Product) -> None:
    row = begun(product)
    advance(row)
    assert refusal(retry, row) == "saga_ended"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 256])
def test_a_reason_is_needed(product: Product, reason: str) -> None:
    row = begun(product)
    for work in (retry, compensate, complete):
        assert refusal(work, row, reason=reason) == "invalid"
    assert not JournalLine.objects.filter(what__startswith="saga.").exists()


def test_there_is_no_such_saga(product: Product) -> None:
    row = Saga(id=begun(product).subject_id)
    for work in (retry, compensate, complete):
        with pytest.raises(FirstcomeError) as caught:
            work(row)
        assert caught.value.code == "not_found"


@pytest.mark.parametrize("token", ["tok_timeout_charged", "tok_timeout_lost"])
def test_in_doubt_it_is_turned_round_and_everything_is_given_back(product: Product, token: str) -> None:
    row = in_doubt(product, token)
    assert compensate(row).direction == UNDO
    compensate(row)
    assert advance(row) == Saga.State.COMPENSATED
    order = order_of(row)
    assert (order.status, order.failure_code) == ("payment_failed", "forced")
    assert Coupon.objects.get(code=order.coupon_code).status == "issued"
    assert ledger.balance_amount(order.account_id) == 100
    assert sum(one.kept_amount for one in gateway().charges()) == 0
    [line] = journalled(row, "saga.turned_round")
    assert (line.actor_name, line.detail) == ("ada", "customer asked")
    assert compensate(row).state == Saga.State.COMPENSATED
    assert buying.broken_laws() == []


def test_the_reason_is_no_customers_business(product: Product) -> None:
    row = in_doubt(product)
    compensate(row, reason="looks like fraud")
    advance(row)
    shown = JournalLine.objects.filter(order_id=row.about_id, is_internal=False)
    assert "fraud" not in " ".join(shown.values_list("detail", flat=True))
    assert "fraud" not in order_of(row).failure_detail


def test_past_the_point_of_no_return_an_order_is_refunded_instead(product: Product, away: Any) -> None:
    row = untold(product, away)
    assert refusal(compensate, row) == "saga_not_reversible"
    with pytest.raises(FirstcomeError, match=f"refund order {row.about_id} instead"):
        compensate(row)
    away.back()
    retry(row)
    advance(row)
    assert refusal(compensate, row) == "saga_not_reversible"


def test_an_undo_that_hangs_is_answered_for_once_it_is_stuck(product: Product, away: Any) -> None:
    row = never_undone(product, away)
    assert compensate(row).state == Saga.State.RUNNING
    compensate(row)
    assert advance(row) == Saga.State.COMPENSATED
    lines = SagaLog.objects.filter(saga=row, step="charge_card", attempt=0).order_by("id")
    assert [(line.direction, line.event) for line in lines] == [(DO, Event.VOID), (UNDO, Event.FORCED)]
    assert order_of(row).status == "payment_failed"
    assert payment_of(row).status == "failed"
    [line] = journalled(row, "saga.forced")
    assert (line.actor_name, line.detail) == ("ada", "customer asked")
    [line] = journalled(row, "charge_card.undo.forced")
    assert (line.actor_name, line.is_internal) == ("ada", False)
    away.back()
    assert buying.broken_laws() == []


def test_an_operator_who_is_wrong_about_an_undo_is_told_by_the_audit(product: Product, away: Any) -> None:
    row = never_undone(product, away, "tok_timeout_charged")
    compensate(row)
    advance(row)
    away.back()
    assert [report.law for report in buying.broken_laws()] == ["L9"]


def test_a_saga_that_is_being_undone_without_trouble_is_left_alone(product: Product) -> None:
    row = in_doubt(product)
    compensate(row)
    before = Saga.objects.values().get(id=row.id)
    compensate(row)
    assert Saga.objects.values().get(id=row.id) == before
    assert len(journalled(row, "saga.turned_round")) == 1


def test_a_charge_that_was_seen_at_the_gateway_completes_the_order(product: Product, away: Any) -> None:
    row = begun(product, "tok_timeout_charged")
    advance(row)
    away.take("GATEWAY_URL")
    advance(row)
    away.back()
    [charge] = gateway().charges(order_id=row.about_id)
    away.take("GATEWAY_URL")
    assert refusal(complete, row) == "invalid"
    complete(row, reference=charge.reference)
    assert advance(row) == Saga.State.DONE
    away.back()
    payment = payment_of(row)
    assert (payment.status, payment.charge_reference) == ("succeeded", charge.reference)
    assert order_of(row).status == "paid"
    [line] = journalled(row, "charge_card.forced")
    assert (line.actor_name, line.reference) == ("ada", charge.reference)
    assert complete(row).state == Saga.State.DONE
    assert buying.broken_laws() == []


def test_an_operator_who_is_wrong_about_a_charge_is_told_by_the_audit(product: Product) -> None:
    row = in_doubt(product, "tok_timeout_lost")
    complete(row, reference="ch_of_somebody_else")
    assert advance(row) == Saga.State.DONE
    assert [report.law for report in buying.broken_laws()] == ["L9"]


def test_a_forced_charge_that_is_turned_round_before_it_settles_is_refunded(product: Product) -> None:
    row = in_doubt(product)
    [charge] = gateway().charges(order_id=row.about_id)
    complete(row, reference=charge.reference)
    compensate(row)
    assert advance(row) == Saga.State.COMPENSATED
    assert payment_of(row).status == "reversed"
    [charge] = gateway().charges(order_id=row.about_id)
    assert charge.kept_amount == 0
    assert buying.broken_laws() == []


@pytest.mark.parametrize("reference", ["two\nlines", "é", "x" * 97])
def test_a_reference_is_what_a_gateway_may_call_a_charge(product: Product, reference: str) -> None:
    assert refusal(complete, in_doubt(product), reference=reference) == "invalid"


def test_an_event_that_was_told_otherwise_completes_the_saga(product: Product, away: Any) -> None:
    row = untold(product, away)
    complete(row)
    assert advance(row) == Saga.State.DONE
    assert (again(row).state, order_of(row).status) == ("done", "paid")
    [line] = journalled(row, "transmit.forced")
    assert line.actor_name == "ada"
    away.back()
    assert buying.broken_laws() == []


def test_what_is_still_being_tried_is_not_forced(product: Product, away: Any) -> None:
    row = begun(product)
    away.take("DATA_PLATFORM_URL")
    assert advance(row) == Saga.State.RUNNING
    assert refusal(complete, row) == "step_not_hanging"


def test_a_charge_that_was_never_tried_is_not_forced(product: Product) -> None:
    row = begun(product, points=0)
    assert refusal(complete, row, reference="ch_1") == "step_not_hanging"


def test_a_step_of_our_own_is_never_forced(product: Product) -> None:
    row = begun(product)
    late(row)
    Saga.objects.filter(id=row.id).update(state=Saga.State.STUCK)
    assert refusal(complete, row) == "step_is_local"


def test_an_undo_of_our_own_is_never_forced(product: Product, away: Any) -> None:
    row = never_undone(product, away)
    compensate(row)
    Saga.objects.filter(id=row.id).update(state=Saga.State.STUCK)
    assert refusal(compensate, row) == "step_is_local"


def test_a_saga_that_is_being_undone_is_not_completed(product: Product, away: Any) -> None:
    row = never_undone(product, away)
    assert refusal(complete, row, reference="ch_1") == "saga_being_undone"
    compensate(row)
    advance(row)
    assert refusal(complete, row, reference="ch_1") == "saga_being_undone"


def test_a_top_up_is_forced_as_well(away: Any) -> None:
    buyer = buying.account()
    keyed = Keyed(buyer.id, key_hash("a"), "as wished", lambda outcome: None)
    payment = top_ups.top_up(account_id=buyer.id, amount=700, token="tok_timeout_charged", keyed=keyed)
    assert isinstance(payment, Payment)
    [charge] = gateway().charges(key=payment.charge_key)
    row = Saga.objects.get(subject_id=payment.id)
    complete(row, reference=charge.reference)
    assert advance(row) == Saga.State.DONE
    assert ledger.balance_amount(buyer.id) == 700
    with pytest.raises(FirstcomeError, match="the points are in the wallet"):
        compensate(row)
    assert buying.broken_laws() == []


def test_an_operator_waits_for_a_driver_and_then_is_alone(product: Product, settings: LazySettings) -> None:
    """The driver is in the middle of its call to the gateway: the operator decides after it, not beside."""
    settings.GATEWAY_TIMEOUT_SECONDS = 3
    row = begun(product, "tok_slow")

    def force() -> str:
        wait_until(lambda: bool(again(row).lease_token))
        with pytest.raises(FirstcomeError) as caught:
            compensate(row)
        return caught.value.code

    assert race([lambda: advance(row), force]) == [Saga.State.DONE, "saga_not_reversible"]
    assert order_of(row).status == "paid"
    assert buying.broken_laws() == []


def test_a_driver_that_never_lets_go_is_told(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    row = begun(product)
    monkeypatch.setattr(operating, "WAIT_SECONDS", 0.3)
    Saga.objects.filter(id=row.id).update(
        lease_token="other", leased_until=timezone.now() + timedelta(seconds=60)
    )
    assert refusal(retry, row) == "unavailable"


def test_a_driver_whose_lease_is_over_does_not_come_back(product: Product) -> None:
    row = begun(product, points=0)
    Saga.objects.filter(id=row.id).update(lease_token="slow", leased_until=timezone.now())
    compensate(row)
    with pytest.raises(steps.LeaseLost):
        steps.perform(row.id, saga.KINDS["purchase"].step("charge_card"), DO, token="slow")
    assert advance(row) == Saga.State.COMPENSATED
    assert [one.status for one in gateway().charges()] == ["cancelled"]
    assert buying.broken_laws() == []


def test_operators_and_drivers_at_once_come_to_one_end(product: Product) -> None:
    row = in_doubt(product)
    [charge] = gateway().charges(order_id=row.about_id)

    def quietly(work: Any, **more: Any) -> Any:
        try:
            return work(row, **more)
        except FirstcomeError as error:
            return error

    race(
        [
            lambda: quietly(compensate),
            lambda: quietly(complete, reference=charge.reference),
            lambda: quietly(retry),
            lambda: advance(row),
            lambda: quietly(complete, reference=charge.reference),
            lambda: quietly(compensate),
        ]
    )
    buying.settle_everything()
    assert order_of(row).status in ("paid", "payment_failed")
    assert buying.broken_laws() == []
