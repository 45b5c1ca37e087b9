"""Operators concurrent with executors and each other: only one of them acts on a saga at a time."""

from functools import partial

import pytest
from django.utils import timezone

from foundation.approval_models import Approval
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.instants import from_now
from foundation.tests.journal_lines import times_noted
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import holding
from foundation.tests.waiting import in_background, waiting_at
from orders.models import Saga, SagaLog
from orders.saga import batch, operator_actions, rows as saga_rows
from orders.saga.definitions import DO, Event, StepResult
from orders.tests import buying, hanging
from orders.tests.hanging import product
from payments.gateways import gateway

__all__ = ["product"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("impatient")]


def test_an_operator_waits_for_the_end_of_a_lease(product, settings):
    """The executor is calling the gateway: the operator's action runs after its lease."""
    settings.GATEWAY_TIMEOUT_SECONDS = 3
    row = hanging.started(product, "tok_slow")

    def force():
        wait_until(lambda: bool(reloaded(row).lease_token))
        return buying.refusal_of(lambda: hanging.compensate(row)).code

    assert race([lambda: hanging.advance(row), force]) == [Saga.State.DONE, "saga_not_reversible"]
    assert hanging.order_of(row).status == "paid"


def test_an_action_is_refused_while_a_worker_keeps_the_lease(product, monkeypatch):
    row = hanging.started(product)
    monkeypatch.setattr(operator_actions, "WAIT_SECONDS", 0.3)
    set_columns(row, lease_token="other", leased_until=from_now(seconds=60))
    refused = buying.refusal_of(lambda: hanging.retry(row))
    assert (refused.code, refused.retry_after) == ("unavailable", 5)
    assert hanging.refusal(hanging.retry, row) == "unavailable"


def test_an_operator_waits_for_a_transaction_that_has_the_order(product):
    """The order first, then its saga: as every other transaction locks them."""
    row = hanging.started(product)
    hanging.make_overdue(row)
    set_columns(row, state=Saga.State.STUCK)
    with holding("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", row.about_id.hex):
        retried = in_background(lambda: hanging.retry(row))
        wait_until(lambda: waiting_at("SELECT%orders_order%FOR UPDATE%") == 1)
        assert reloaded(row).state == Saga.State.STUCK
    retried.result(timeout=20)
    assert reloaded(row).state == Saga.State.RUNNING


def test_a_worker_whose_lease_has_lapsed_does_not_override_the_operator(product):
    row = hanging.started(product, points=0)
    set_columns(row, lease_token="slow", leased_until=timezone.now(), open_call=f"charge_card {DO}")
    hanging.compensate(row)
    result = StepResult(Event.DONE, reference="ch_late")
    slow = saga_rows.read_sagas([row.id])[row.id]
    slow.open_call, slow.is_calling, slow.result = f"charge_card {DO}", True, result
    done = batch.advance([slow], token="slow", failpoint=lambda point: None)
    assert done.rows[slow.id].lease_token == "slow", "it continues"
    assert not SagaLog.objects.filter(saga=row, step="charge_card", event="done").exists()
    set_columns(row, leased_until=None)
    assert hanging.advance(row) == Saga.State.COMPENSATED
    assert [one.status for one in gateway().charges()] == ["cancelled"]


def test_concurrent_operators_and_executors_have_one_outcome(product):
    row = hanging.in_doubt(product)
    [charge] = gateway().charges(order_id=row.about_id)
    complete = partial(hanging.complete, reference=charge.reference)
    works = (hanging.compensate, complete, hanging.retry, hanging.advance, complete, hanging.compensate)
    race([partial(work, row) for work in works])
    buying.settle_everything()
    assert hanging.order_of(row).status in ("paid", "payment_failed")


def test_a_step_that_two_operators_approve_and_a_third_asks_again_is_forced_once(product, away):
    row = hanging.stuck_at_data_platform(product, away)
    asked = hanging.complete(row)

    outcomes = race([*[partial(hanging.approve, asked)] * 2, partial(hanging.complete, row)])

    approved = [one for one in outcomes[:2] if isinstance(one, Approval)]
    assert [one.status for one in approved] == ["approved"]
    assert buying.kinds(outcomes)["approval_decided"] == 1
    assert times_noted("saga.forced") == 1
    assert SagaLog.objects.filter(saga=row, step="transmit", event="forced").count() == 1
    assert hanging.advance(row) == Saga.State.DONE


def test_an_approval_and_a_retry_at_once_end_with_one_of_them(product, away):
    row = hanging.stuck_at_data_platform(product, away)
    asked = hanging.complete(row)

    decided, _ = race([partial(hanging.approve, asked), partial(hanging.retry, row)])

    is_forced = isinstance(decided, Approval) and decided.status == "approved"
    assert is_forced or decided.code == "step_not_hanging"
    assert Approval.objects.get().status == ("approved" if is_forced else "waiting")
    assert SagaLog.objects.filter(saga=row, step="transmit", event="forced").exists() == is_forced
