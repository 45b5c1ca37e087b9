"""Operators' actions on sagas of real orders, with simulators; the laws are checked after each."""

from dataclasses import replace

import pytest
from django.db.models import F
from django.utils import timezone

from coupons.models import Coupon
from foundation.approval_models import Approval
from foundation.errors import FirstcomeError, Rejected
from foundation.journal import Actor, ActorContext
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.journal_lines import times_noted
from orders import selectors
from orders.metrics import state
from orders.models import Order, Refund, Saga, SagaLog
from orders.payment import charging
from orders.saga.definitions import DO, UNDO, Event
from orders.tests import buying, hanging, stepping
from orders.tests.hanging import product
from orders.tests.test_unknown_outcomes import cannot_cancel
from payments import ledger
from payments.gateways import gateway, simulator
from payments.gateways.calls import request_json
from payments.models import Payment

__all__ = ["cannot_cancel", "product"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("impatient")]


def test_an_overdue_saga_that_was_not_retried_yet_is_listed_too(product):
    row = hanging.started(product)
    hanging.make_overdue(row)
    assert [one.id for one in selectors.read_needing_operator()] == [row.id]
    assert state.count_stuck()["purchase"] == 0


def test_a_retried_saga_runs_again_with_a_new_deadline_and_ends(product, away):
    row = hanging.stuck_at_data_platform(product, away)
    hanging.retry(row)
    assert hanging.advance(row) == Saga.State.RUNNING
    hanging.make_overdue(row)
    assert hanging.advance(row) == Saga.State.STUCK, "it failed again"
    away.back()
    by = ActorContext(actor=Actor.STAFF, id=10**12, name="ada", request_id="request-1")
    retried = hanging.retry(row, by=by)
    assert retried.state == Saga.State.RUNNING
    assert retried.deadline_at > timezone.now()
    assert [one.id for one in stepping.due(limit=10)] == [row.id]
    assert hanging.advance(row) == Saga.State.DONE
    assert hanging.refusal(hanging.retry, row) == "saga_ended"
    [_, line] = hanging.journalled(row, "saga.retried")
    assert (line.actor, line.actor_name, line.request_id) == ("staff", "ada", "request-1")
    assert (line.detail, line.is_internal) == ("looked into it", True)
    before = {"state": "stuck", "direction": "do"}
    assert (line.before, line.after) == (before, before | {"state": "running"})


@in_one_test("reason", ["", "  ", "x" * 256])
def test_a_reason_and_a_saga_that_there_is_are_required(product, reason):
    row = hanging.started(product)
    for work in (hanging.retry, hanging.compensate, hanging.complete):
        assert hanging.refusal(work, row, reason=reason) == "invalid"
        assert buying.refusal_of(work, Saga(id=row.subject_id)).code == "not_found"
    assert not JournalLine.objects.filter(what__startswith="saga.").exists()


@pytest.mark.parametrize("token", ["tok_timeout_charged", "tok_timeout_lost"])
def test_a_payment_in_doubt_is_compensated_and_everything_is_released(product, token):
    row = hanging.in_doubt(product, token)
    assert hanging.compensate(row, reason="looks like fraud").direction == UNDO
    before = Saga.objects.values().get(id=row.id)
    hanging.compensate(row)
    assert Saga.objects.values().get(id=row.id) == before
    assert hanging.advance(row) == Saga.State.COMPENSATED
    order = hanging.order_of(row)
    assert (order.status, order.failure_code) == ("payment_failed", "forced")
    assert Coupon.objects.get(code=order.coupon_code).status == "issued"
    assert ledger.balance_amount(order.account_id) == 100
    assert sum(one.kept_amount for one in gateway().charges()) == 0
    [line] = hanging.journalled(row, "saga.turned_round")
    assert (line.actor_name, line.detail) == ("ada", "looks like fraud")
    shown = JournalLine.objects.filter(order_id=row.about_id, is_internal=False)
    for text in (*shown.values_list("detail", flat=True), order.failure_detail):
        assert "fraud" not in text, "customers do not see the reason"
    assert hanging.compensate(row).state == Saga.State.COMPENSATED


def test_past_the_point_of_no_return_an_order_is_refunded_instead(product, away):
    row = hanging.stuck_at_data_platform(product, away)
    assert hanging.refusal(hanging.compensate, row) == "saga_not_reversible"
    with pytest.raises(FirstcomeError, match=f"refund order {row.about_id} instead"):
        hanging.compensate(row)
    away.back()
    hanging.retry(row)
    hanging.advance(row)
    assert hanging.refusal(hanging.compensate, row) == "saga_not_reversible"


def test_a_stuck_undo_ends_once_the_gateway_says_that_nothing_is_charged(product, away):
    row = hanging.stuck_in_compensation(product, away, "tok_timeout_charged")
    away.back()
    hanging.refund_by_hand(row)
    assert hanging.compensate(row).state == Saga.State.RUNNING
    hanging.compensate(row)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    lines = SagaLog.objects.filter(saga=row, step="charge_card", attempt=0).order_by("id")
    assert [(line.direction, line.event) for line in lines] == [(DO, Event.VOID), (UNDO, Event.FORCED)]
    assert hanging.order_of(row).status == "payment_failed"
    assert hanging.payment_of(row).status == "reversed"
    [line] = hanging.journalled(row, "saga.forced")
    assert (line.actor_name, line.detail) == ("ada", "customer asked")
    [charge] = gateway().charges(order_id=row.about_id)
    assert line.reference == charge.reference
    [line] = hanging.journalled(row, "charge_card.undo.forced")
    assert (line.actor_name, line.is_internal) == ("ada", False)


def test_a_stuck_undo_of_what_is_charged_still_is_refused(product, away):
    row = hanging.stuck_in_compensation(product, away, "tok_timeout_charged")
    assert hanging.refusal(hanging.compensate, row) == "unavailable"
    away.back()
    assert hanging.refusal(hanging.compensate, row) == "gateway_disagrees"
    [charge] = gateway().charges(order_id=row.about_id)
    disputed = request_json("POST", "/disputes", body={"charge": charge.reference}, key="owner").content
    assert hanging.refusal(hanging.compensate, row) == "gateway_disagrees", "disputed is not refunded"
    request_json("POST", f"/disputes/{disputed['id']}/close", body={"status": "won"})
    hanging.retry(row)
    assert hanging.advance(row) == Saga.State.COMPENSATED


def test_a_refund_on_which_the_gateway_works_keeps_its_key_when_its_undo_is_retried(product, monkeypatch):
    """It counted as failed, and the retry asked for another one by another key."""
    row, keys, refund = hanging.in_doubt(product), [], simulator.refund

    def work_first(*, key, **wanted):
        keys.append(key)
        made = refund(key=key, **wanted)
        return replace(made, status="pending") if len(keys) == 1 else made

    monkeypatch.setattr(simulator, "refund", work_first)
    hanging.compensate(row)
    assert hanging.advance(row) == Saga.State.RUNNING
    hanging.retry(row)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    assert (len(keys), len(set(keys))) == (2, 1)
    assert len(hanging.journalled(row, "charge_card.undo.pending")) == 1


def test_an_undo_that_the_gateway_confirms_refuses_the_late_do(product, away):
    row = hanging.stuck_in_compensation(product, away)
    away.back()
    SagaLog.objects.filter(saga=row, event=Event.VOID).delete()
    hanging.compensate(row)
    assert SagaLog.objects.get(saga=row, step=charging.NAME, direction=DO, attempt=0).event == Event.VOID
    payment = hanging.payment_of(row)
    late = gateway().charge(
        key=payment.charge_key, token="tok_error", amount=700, currency="KRW", order_id=row.about_id
    )
    assert late.status == "cancelled"


@pytest.mark.usefixtures("cannot_cancel")
def test_of_a_charge_that_the_gateway_can_not_block_two_operators_say_that_it_is_undone(product, away):
    row = hanging.stuck_in_compensation(product, away)
    away.back()
    empty = SagaLog.objects.filter(saga=row).count()
    asked = hanging.compensate(row)
    assert hanging.compensate(row) == asked
    assert (reloaded(row).state, SagaLog.objects.filter(saga=row).count()) == ("stuck", empty)
    hanging.approve(asked)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    [line] = hanging.journalled(row, "saga.forced")
    assert line.after and line.after["asked_by"]["username"] == "ada"
    assert line.after["approved_by"]["username"] == line.actor_name != "ada"


def test_a_charge_that_the_gateway_has_completes_the_order(product, away):
    row = hanging.stuck_at_charge(product)
    [charge] = gateway().charges(order_id=row.about_id)
    away.take("GATEWAY_URL")
    assert hanging.refusal(hanging.complete, row, reference=charge.reference) == "unavailable"
    away.back()
    assert hanging.refusal(hanging.complete, row, reference="ch_of_somebody_else") == "reference_differs"
    hanging.complete(row)
    assert hanging.advance(row) == Saga.State.DONE
    payment = hanging.payment_of(row)
    assert (payment.status, payment.charge_reference) == ("succeeded", charge.reference)
    assert hanging.order_of(row).status == "paid"
    for what in ("charge_card.forced", "saga.forced"):
        [line] = hanging.journalled(row, what)
        assert (line.actor_name, line.reference) == ("ada", charge.reference)
    assert hanging.complete(row).state == Saga.State.DONE


@pytest.mark.parametrize(
    ("token", "code"), [("tok_timeout_lost", "charge_not_found"), ("tok_webhook", "gateway_disagrees")]
)
def test_a_charge_that_the_gateway_does_not_have_is_never_completed_by_an_invented_reference(
    product, token, code
):
    row = hanging.started(product, token)
    hanging.advance(row)
    set_columns(row, state=Saga.State.STUCK)
    assert hanging.refusal(hanging.complete, row, reference="ch_invented") == code
    assert hanging.refusal(hanging.complete, row) == code
    assert hanging.order_of(row).status == "paying"
    assert not times_noted("saga.forced")


@pytest.mark.parametrize(("column", "value"), [("card_amount", 1), ("currency", "EUR")])
def test_a_charge_of_another_amount_or_currency_is_not_booked(product, column, value, unlawful):
    row = hanging.stuck_at_charge(product)
    Payment.objects.filter(id=row.subject_id).update(**{column: value})
    assert hanging.refusal(hanging.complete, row) == "gateway_disagrees"


def test_a_charge_that_is_confirmed_and_compensated_before_it_settles_is_refunded(product):
    row = hanging.stuck_at_charge(product)
    hanging.complete(row)
    hanging.compensate(row)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    assert hanging.payment_of(row).status == "reversed"
    [charge] = gateway().charges(order_id=row.about_id)
    assert charge.kept_amount == 0


def test_what_moved_after_the_gateway_was_asked_is_not_forced(product, monkeypatch, unlawful):
    row = hanging.stuck_at_charge(product)
    step = charging.STEP
    ask = step.look_up.ask

    def moved_meanwhile(*asked):
        said = ask(*asked)
        Payment.objects.filter(id=row.subject_id).update(card_amount=F("card_amount") + 1)
        return said

    monkeypatch.setattr(type(step.look_up), "ask", property(lambda self: moved_meanwhile))
    assert hanging.refusal(hanging.complete, row) == "saga_changed"


@in_one_test("reference", ["two\nlines", "é", "x" * 97])
def test_a_reference_is_up_to_96_printable_ascii_characters(product, reference, unlawful):
    assert hanging.refusal(hanging.complete, hanging.in_doubt(product), reference=reference) == "invalid"


def test_an_event_delivered_by_hand_completes_the_saga_once_a_second_operator_approves(product, away):
    row = hanging.stuck_at_data_platform(product, away)
    asked = hanging.complete(row, reference="evt_7")
    assert (reloaded(row).state, asked.status, asked.asker_name) == ("stuck", "waiting", "ada")
    decided = hanging.approve(asked)
    assert (decided.status, decided.outcome) == ("approved", "do transmit is recorded")
    assert hanging.advance(row) == Saga.State.DONE
    assert (reloaded(row).state, hanging.order_of(row).status) == ("done", "paid")
    [line] = hanging.journalled(row, "transmit.forced")
    assert (line.actor_name, line.reference) == (decided.decider_name, "evt_7")
    away.back()


def test_an_approval_does_nothing_once_the_saga_has_moved(product, away):
    row = hanging.stuck_at_data_platform(product, away)
    asked = hanging.complete(row)
    away.back()
    hanging.retry(row)
    assert buying.refusal_of(hanging.approve, asked, kind=Rejected).code == "step_not_hanging"
    hanging.advance(row)
    assert buying.refusal_of(hanging.approve, asked, kind=Rejected).code == "step_is_local"
    assert Approval.objects.get().status == "waiting"
    assert not times_noted("saga.forced")


def test_a_step_that_was_not_tried_yet_or_is_still_tried_is_not_forced(product, away):
    """It was accepted after one attempt of the charge, on a saga that a worker advanced."""
    asked, untried = hanging.in_doubt(product, "tok_timeout_lost"), hanging.started(product, points=0)
    retried = hanging.started(product)
    away.take("DATA_PLATFORM_URL")
    assert hanging.advance(retried) == Saga.State.RUNNING
    for row, reference in ((asked, ""), (retried, ""), (asked, "ch_1"), (untried, "ch_1")):
        assert hanging.refusal(hanging.complete, row, reference=reference) == "step_not_hanging"


def test_of_a_saga_whose_end_alone_is_missing_an_operator_reads_to_retry_it(product):
    row = hanging.started(product)
    assert hanging.advance(row) == Saga.State.DONE
    unfinished = {"state": Saga.State.STUCK, "ended_at": None, "next_attempt_at": timezone.now()}
    set_columns(row, **unfinished)
    with pytest.raises(Rejected, match=r"only the saga's end is not recorded: retry the saga\.") as refused:
        hanging.complete(row)
    assert refused.value.code == "step_is_local"


def test_a_local_step_or_undo_is_never_forced_nor_a_step_of_a_saga_that_is_compensated(product, away):
    row, undone = hanging.started(product), hanging.stuck_in_compensation(product, away)
    assert hanging.refusal(hanging.complete, undone, reference="ch_1") == "saga_being_undone"
    away.back()
    hanging.compensate(undone)
    hanging.make_overdue(row)
    Saga.objects.update(state=Saga.State.STUCK)
    assert hanging.refusal(hanging.complete, row) == "step_is_local"
    assert hanging.refusal(hanging.compensate, undone) == "step_is_local"
    assert hanging.advance(undone) == Saga.State.COMPENSATED
    assert hanging.refusal(hanging.complete, undone, reference="ch_1") == "saga_being_undone"


def stuck_refund(product, away) -> Saga:
    """The saga of a refund that found the gateway away, and is stuck."""
    row = hanging.started(product)
    assert hanging.advance(row) == Saga.State.DONE
    refund = Saga.objects.get(id=buying.refund(row.about_id).saga_id)
    away.take("GATEWAY_URL")
    hanging.advance(refund)
    hanging.let_stick(refund)
    return refund


def refund_of(row: Saga) -> Refund:
    return Refund.objects.get(id=row.subject_id)


def test_a_refund_is_completed_once_all_of_it_was_made_by_hand_at_the_gateway(product, away):
    row = stuck_refund(product, away)
    assert hanging.refusal(hanging.complete, row) == "unavailable"
    away.back()
    assert hanging.refusal(hanging.complete, row) == "gateway_disagrees"
    [charge] = gateway().charges(order_id=row.about_id)
    gateway().refund(key="a part", charge_reference=charge.reference, amount=charge.amount - 1)
    assert hanging.refusal(hanging.complete, row, reference=charge.reference) == "gateway_disagrees"
    gateway().refund(key="the rest", charge_reference=charge.reference, amount=1)
    assert (refund_of(row).status, hanging.order_of(row).status) == (Refund.Status.STUCK, "refunding")
    assert hanging.refusal(hanging.complete, row, reference="re_invented") == "reference_differs"
    hanging.complete(row)
    assert refund_of(row).status == Refund.Status.PENDING
    assert hanging.advance(row) == Saga.State.DONE
    order = hanging.order_of(row)
    assert (refund_of(row).status, order.status) == (Refund.Status.SUCCEEDED, Order.Status.REFUNDED)
    assert ledger.balance_amount(order.account_id) == 100
    [line] = hanging.journalled(row, "refund_card.forced")
    assert (line.actor_name, line.reference) == ("ada", charge.reference)


def test_a_retried_refund_is_pending_again_and_stuck_again_and_never_compensated(product, away, unlawful):
    row = stuck_refund(product, away)
    assert hanging.refusal(hanging.retry, row) == "unavailable", "it can't ask what was given back by hand"
    away.back()
    hanging.retry(row)
    assert refund_of(row).status == Refund.Status.PENDING
    away.take("GATEWAY_URL")
    hanging.let_stick(row)
    assert refund_of(row).status == Refund.Status.STUCK
    assert hanging.refusal(hanging.compensate, row) == "saga_not_reversible"
    with pytest.raises(FirstcomeError, match="it must complete: retry it, or complete its step"):
        hanging.compensate(row)


def test_the_retry_of_a_refund_that_no_worker_has_begun_opens_no_call(product):
    """One that may have been made is looked up first; this one is not."""
    row = hanging.started(product)
    hanging.advance(row)
    refund = Saga.objects.get(id=buying.refund(row.about_id).saga_id)
    assert (hanging.retry(refund).open_call, hanging.advance(refund)) == ("", Saga.State.DONE)


def test_a_top_up_that_the_gateway_has_charged_can_be_completed():
    buyer = buying.account()
    payment = buying.top_up(buyer, 700, "tok_timeout_charged")
    [charge] = gateway().charges(key=payment.charge_key)
    row = Saga.objects.get(subject_id=payment.id)
    assert hanging.refusal(hanging.complete, row, reference=charge.reference) == "step_not_hanging"
    set_columns(row, state=Saga.State.STUCK)
    hanging.complete(row, reference=charge.reference)
    assert hanging.advance(row) == Saga.State.DONE
    assert ledger.balance_amount(buyer.id) == 700
    with pytest.raises(FirstcomeError, match="the points are in the wallet"):
        hanging.compensate(row)
