"""What operators may do about sagas: on real orders and simulators, with the laws checked after each."""

import pytest
from django.test import Client
from django.utils import timezone

from coupons.models import Coupon
from inventory.models import Product
from orders.models import Saga, SagaLog
from orders.payment import charging
from orders.saga import recovery, status
from orders.saga.definitions import DO, UNDO, Event
from orders.tests import buying, hanging
from orders.tests.hanging import Away, away, impatient, product
from payments import ledger
from payments.gateways import gateway
from shop.errors import FirstcomeError
from shop.models import JournalLine

__all__ = ["away", "impatient", "product"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("impatient")]


def test_a_stuck_saga_is_listed_with_all_an_operator_needs(product: Product, away: Away) -> None:
    fine, row = hanging.begun(product), hanging.untold(product, away)
    [told] = status.stuck()
    assert (told.saga_id, told.kind, told.order_id) == (row.id, "purchase", row.about_id)
    assert (told.state, told.direction, told.step, told.is_local) == ("stuck", DO, "transmit", False)
    assert told.attempts == hanging.again(row).attempts > 0
    assert told.last_error
    assert told.late_since == hanging.again(row).deadline_at
    assert [one.saga_id for one in status.unfinished()] == [row.id, fine.id]
    assert [one.step for one in status.unfinished()] == ["transmit", "debit_balance"]
    assert status.count_stuck()["purchase"] == 1


def test_stuck_sagas_are_told_by_kind_at_each_look_at_the_metrics(product: Product, away: Away) -> None:
    assert 'firstcome_sagas_stuck{kind="purchase"} 0.0' in Client().get("/metrics").content.decode()
    row = hanging.untold(product, away)
    told = Client().get("/metrics").content.decode()
    assert 'firstcome_sagas_stuck{kind="purchase"} 1.0' in told
    assert 'firstcome_sagas_stuck{kind="top_up"} 0.0' in told
    hanging.retry(row)
    assert 'firstcome_sagas_stuck{kind="purchase"} 0.0' in Client().get("/metrics").content.decode()


def test_a_late_saga_that_nobody_looked_at_is_listed_too(product: Product) -> None:
    row = hanging.begun(product)
    hanging.late(row)
    assert [one.saga_id for one in status.stuck()] == [row.id]
    assert status.count_stuck()["purchase"] == 0


def test_a_retried_saga_runs_again_with_a_new_deadline_and_ends(product: Product, away: Away) -> None:
    row = hanging.untold(product, away)
    away.back()
    retried = hanging.retry(row)
    assert retried.state == Saga.State.RUNNING
    assert retried.deadline_at > timezone.now()
    assert recovery.dequeue_due(limit=10) == [row.id]
    assert hanging.advance(row) == Saga.State.DONE
    [line] = hanging.journalled(row, "saga.retried")
    assert (line.actor, line.actor_name, line.request_id) == ("staff", "ada", "request-1")
    assert (line.detail, line.is_internal) == ("looked into it", True)
    assert (line.before, line.after) == (
        {"state": "stuck", "direction": "do"},
        {"state": "running", "direction": "do"},
    )
    assert buying.broken_laws() == []


def test_what_is_still_wrong_after_a_retry_is_stuck_again(product: Product, away: Away) -> None:
    row = hanging.untold(product, away)
    hanging.retry(row)
    assert hanging.advance(row) == Saga.State.RUNNING
    hanging.late(row)
    assert hanging.advance(row) == Saga.State.STUCK


def test_an_ended_saga_is_not_retried(product: Product) -> None:
    row = hanging.begun(product)
    hanging.advance(row)
    assert hanging.refusal(hanging.retry, row) == "saga_ended"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 256])
def test_a_reason_is_needed(product: Product, reason: str) -> None:
    row = hanging.begun(product)
    for work in (hanging.retry, hanging.compensate, hanging.complete):
        assert hanging.refusal(work, row, reason=reason) == "invalid"
    assert not JournalLine.objects.filter(what__startswith="saga.").exists()


def test_there_is_no_such_saga(product: Product) -> None:
    row = Saga(id=hanging.begun(product).subject_id)
    for work in (hanging.retry, hanging.compensate, hanging.complete):
        with pytest.raises(FirstcomeError) as caught:
            work(row)
        assert caught.value.code == "not_found"


@pytest.mark.parametrize("token", ["tok_timeout_charged", "tok_timeout_lost"])
def test_in_doubt_it_is_turned_round_and_everything_is_given_back(product: Product, token: str) -> None:
    row = hanging.in_doubt(product, token)
    assert hanging.compensate(row).direction == UNDO
    hanging.compensate(row)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    order = hanging.order_of(row)
    assert (order.status, order.failure_code) == ("payment_failed", "forced")
    assert Coupon.objects.get(code=order.coupon_code).status == "issued"
    assert ledger.balance_amount(order.account_id) == 100
    assert sum(one.kept_amount for one in gateway().charges()) == 0
    [line] = hanging.journalled(row, "saga.turned_round")
    assert (line.actor_name, line.detail) == ("ada", "customer asked")
    assert hanging.compensate(row).state == Saga.State.COMPENSATED
    assert buying.broken_laws() == []


def test_the_reason_is_no_customers_business(product: Product) -> None:
    row = hanging.in_doubt(product)
    hanging.compensate(row, reason="looks like fraud")
    hanging.advance(row)
    shown = JournalLine.objects.filter(order_id=row.about_id, is_internal=False)
    assert "fraud" not in " ".join(shown.values_list("detail", flat=True))
    assert "fraud" not in hanging.order_of(row).failure_detail


def test_past_the_point_of_no_return_an_order_is_refunded_instead(product: Product, away: Away) -> None:
    row = hanging.untold(product, away)
    assert hanging.refusal(hanging.compensate, row) == "saga_not_reversible"
    with pytest.raises(FirstcomeError, match=f"refund order {row.about_id} instead"):
        hanging.compensate(row)
    away.back()
    hanging.retry(row)
    hanging.advance(row)
    assert hanging.refusal(hanging.compensate, row) == "saga_not_reversible"


def test_an_undo_that_hangs_is_answered_for_once_it_is_stuck(product: Product, away: Away) -> None:
    row = hanging.never_undone(product, away)
    assert hanging.compensate(row).state == Saga.State.RUNNING
    hanging.compensate(row)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    lines = SagaLog.objects.filter(saga=row, step="charge_card", attempt=0).order_by("id")
    assert [(line.direction, line.event) for line in lines] == [(DO, Event.VOID), (UNDO, Event.FORCED)]
    assert hanging.order_of(row).status == "payment_failed"
    assert hanging.payment_of(row).status == "failed"
    [line] = hanging.journalled(row, "saga.forced")
    assert (line.actor_name, line.detail) == ("ada", "customer asked")
    [line] = hanging.journalled(row, "charge_card.undo.forced")
    assert (line.actor_name, line.is_internal) == ("ada", False)
    away.back()
    assert buying.broken_laws() == []


def test_a_forced_undo_of_what_never_ran_refuses_the_late_do(product: Product, away: Away) -> None:
    row = hanging.never_undone(product, away)
    SagaLog.objects.filter(saga=row, event=Event.VOID).delete()
    hanging.compensate(row)
    assert SagaLog.objects.get(saga=row, step=charging.NAME, direction=DO, attempt=0).event == Event.VOID


def test_an_operator_who_is_wrong_about_an_undo_is_told_by_the_audit(product: Product, away: Away) -> None:
    row = hanging.never_undone(product, away, "tok_timeout_charged")
    hanging.compensate(row)
    hanging.advance(row)
    away.back()
    assert [report.law for report in buying.broken_laws()] == ["L9"]


def test_a_saga_that_is_being_undone_without_trouble_is_left_alone(product: Product) -> None:
    row = hanging.in_doubt(product)
    hanging.compensate(row)
    before = Saga.objects.values().get(id=row.id)
    hanging.compensate(row)
    assert Saga.objects.values().get(id=row.id) == before
    assert len(hanging.journalled(row, "saga.turned_round")) == 1


def test_a_charge_that_was_seen_at_the_gateway_completes_the_order(product: Product, away: Away) -> None:
    row = hanging.begun(product, "tok_timeout_charged")
    hanging.advance(row)
    away.take("GATEWAY_URL")
    hanging.advance(row)
    away.back()
    [charge] = gateway().charges(order_id=row.about_id)
    away.take("GATEWAY_URL")
    assert hanging.refusal(hanging.complete, row) == "invalid"
    hanging.complete(row, reference=charge.reference)
    assert hanging.advance(row) == Saga.State.DONE
    away.back()
    payment = hanging.payment_of(row)
    assert (payment.status, payment.charge_reference) == ("succeeded", charge.reference)
    assert hanging.order_of(row).status == "paid"
    [line] = hanging.journalled(row, "charge_card.forced")
    assert (line.actor_name, line.reference) == ("ada", charge.reference)
    assert hanging.complete(row).state == Saga.State.DONE
    assert buying.broken_laws() == []


def test_an_operator_who_is_wrong_about_a_charge_is_told_by_the_audit(product: Product) -> None:
    row = hanging.in_doubt(product, "tok_timeout_lost")
    hanging.complete(row, reference="ch_of_somebody_else")
    assert hanging.advance(row) == Saga.State.DONE
    assert [report.law for report in buying.broken_laws()] == ["L9"]


def test_a_forced_charge_that_is_turned_round_before_it_settles_is_refunded(product: Product) -> None:
    row = hanging.in_doubt(product)
    [charge] = gateway().charges(order_id=row.about_id)
    hanging.complete(row, reference=charge.reference)
    hanging.compensate(row)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    assert hanging.payment_of(row).status == "reversed"
    [charge] = gateway().charges(order_id=row.about_id)
    assert charge.kept_amount == 0
    assert buying.broken_laws() == []


@pytest.mark.parametrize("reference", ["two\nlines", "é", "x" * 97])
def test_a_reference_is_what_a_gateway_may_call_a_charge(product: Product, reference: str) -> None:
    assert hanging.refusal(hanging.complete, hanging.in_doubt(product), reference=reference) == "invalid"


def test_an_event_that_was_told_otherwise_completes_the_saga(product: Product, away: Away) -> None:
    row = hanging.untold(product, away)
    hanging.complete(row)
    assert hanging.advance(row) == Saga.State.DONE
    assert (hanging.again(row).state, hanging.order_of(row).status) == ("done", "paid")
    [line] = hanging.journalled(row, "transmit.forced")
    assert line.actor_name == "ada"
    away.back()
    assert buying.broken_laws() == []


def test_what_is_still_being_tried_is_not_forced(product: Product, away: Away) -> None:
    row = hanging.begun(product)
    away.take("DATA_PLATFORM_URL")
    assert hanging.advance(row) == Saga.State.RUNNING
    assert hanging.refusal(hanging.complete, row) == "step_not_hanging"


def test_a_charge_that_was_never_tried_is_not_forced(product: Product) -> None:
    row = hanging.begun(product, points=0)
    assert hanging.refusal(hanging.complete, row, reference="ch_1") == "step_not_hanging"


def test_a_step_of_our_own_is_never_forced(product: Product) -> None:
    row = hanging.begun(product)
    hanging.late(row)
    Saga.objects.filter(id=row.id).update(state=Saga.State.STUCK)
    assert hanging.refusal(hanging.complete, row) == "step_is_local"


def test_an_undo_of_our_own_is_never_forced(product: Product, away: Away) -> None:
    row = hanging.never_undone(product, away)
    hanging.compensate(row)
    Saga.objects.filter(id=row.id).update(state=Saga.State.STUCK)
    assert hanging.refusal(hanging.compensate, row) == "step_is_local"


def test_a_saga_that_is_being_undone_is_not_completed(product: Product, away: Away) -> None:
    row = hanging.never_undone(product, away)
    assert hanging.refusal(hanging.complete, row, reference="ch_1") == "saga_being_undone"
    hanging.compensate(row)
    hanging.advance(row)
    assert hanging.refusal(hanging.complete, row, reference="ch_1") == "saga_being_undone"
