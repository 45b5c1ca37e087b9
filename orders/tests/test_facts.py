"""What is known of calls at the gateway is in columns: no text and no line of the journal decides."""

import importlib

import pytest
from django.apps import apps

from foundation import clock
from foundation.db import transactions
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import reloaded, set_columns
from orders.models import Refund, Saga
from orders.payment import gateway_facts
from orders.saga import rows as saga_rows
from orders.saga.definitions import DO, LEASE_LOST, Event, StepResult
from orders.saga.rows import SagaLogLine
from orders.tests import at_stripe, buying, hanging

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def refused(own_stripe):
    """The saga of a refund that the card has not taken, and which is stuck."""
    placed = at_stripe.order("pm_refund_not_taken")
    buying.advance(placed)
    row = Saga.objects.get(id=buying.refund(placed.order).saga_id)
    hanging.let_stick(row)
    return row


def test_a_refused_refund_is_still_known_as_refused_after_a_worker_has_crashed(refused):
    """The crash replaced the text in which the gateway's refusal was looked for."""
    set_columns(refused, last_error=LEASE_LOST.detail)
    lost = SagaLogLine(refused, "refund_card", DO, LEASE_LOST, attempt=9)
    transactions.run(lambda: saga_rows.write_lines([lost], at=clock.now()), transactions.KEYED)
    assert hanging.approve(hanging.complete(refused)).status == "approved"


def test_another_key_after_a_retry_needs_no_journal(refused):
    hanging.retry(refused)
    JournalLine.objects.filter(subject=f"refund {refused.subject_id}").delete()
    assert hanging.advance(refused) == Saga.State.DONE
    assert Refund.objects.get().status == "succeeded"


def test_refunds_under_way_of_the_release_before_get_their_columns(refused):
    hanging.retry(refused)
    JournalLine.objects.filter(what="saga.retried").update(after={"refunded_by_hand_amount": 7})
    set_columns(refused, key_number=0, last_error="declined expired_card Text.")
    Refund.objects.update(refusal_code="")
    importlib.import_module("orders.migrations.0003_facts").copy_from_journal(apps, None)
    assert reloaded(refused).key_number == 1
    assert Refund.objects.values_list("by_hand_amount", "refusal_code").get() == (7, "refused")
    assert hanging.advance(refused) == Saga.State.DONE


@in_one_test(
    ("amount", "detail", "is_refunded"),
    [(500, "anything", True), (0, gateway_facts.REFUNDED, False), (None, gateway_facts.REFUNDED, True),
     (None, gateway_facts.NOT_CHARGED, False)],
)  # fmt: skip
def test_an_undone_charge_was_there_if_an_amount_was_moved(amount, detail, is_refunded):
    undone = StepResult(Event.DONE, detail, amount=amount)
    assert gateway_facts.is_refunded(undone) is is_refunded
