"""Operators can read the ledger and the payments in the admin, and change nothing."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import staff_member
from payments import ledger
from payments.models import Entry, Payment, Reconciliation, Transfer, WebhookEvent
from payments.tests import events, factories, sales
from payments.tests.factories import PaymentFactory

pytestmark = pytest.mark.django_db
MODELS = ["ledgeraccount", "transfer", "entry", "payment", "webhookevent", "reconciliation"]


@pytest.fixture
def rows():
    """One row of each kind, with money in it."""
    user_id = factories.wallet(1_000)
    order_id = factories.order(user_id, card_amount=700)
    payment = PaymentFactory(token="tok_very_secret", order_id=order_id, card_amount=700)
    with transaction.atomic():
        sales.settle_sale(order_id=order_id, points_amount=0, card_amount=700)
    # Texts that came from the gateway.
    said = " is charged, and no payment knows of it"
    finding = {"key": "<b>orphan</b>", "kind": "unknown_charge", "cause": f"700{said}", "done": "refunded"}
    finding |= {"text": f"%(kept)s{said}", "values": {"kept": 700}}
    ran = dict.fromkeys(("started_at", "ended_at"), timezone.now())
    run = Reconciliation.objects.create(**ran, checked=1, differences=1, refunded=1, findings=[finding])
    return {
        "ledgeraccount": user_id,
        "transfer": Transfer.objects.get(kind="grant").id,
        "entry": Entry.objects.get(account_id=user_id).id,
        "payment": payment.id,
        "webhookevent": events.take(key=payment.charge_key).id,
        "reconciliation": run.id,
    }


@in_one_test("model", MODELS)
def test_nothing_is_added_changed_or_deleted_by_hand(operator, rows, model):
    row = rows[model]
    assert operator.post(reverse(f"admin:payments_{model}_add"), {}).status_code == 403
    for action in ("change", "delete"):
        assert operator.post(reverse(f"admin:payments_{model}_{action}", args=[row]), {}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [row], "post": "yes"}
    operator.post(reverse(f"admin:payments_{model}_changelist"), selected)
    assert ledger.balance_amount(rows["ledgeraccount"]) == 1_000  # type: ignore[arg-type]
    assert (Transfer.objects.count(), Entry.objects.count(), Payment.objects.count()) == (2, 4, 1)
    assert (WebhookEvent.objects.count(), Reconciliation.objects.count()) == (1, 1)


@in_one_test("at_once", [1, 2, 3, 50_000])
def test_the_balance_of_the_shops_accounts_is_the_sum_of_their_entries_read_in_parts(
    operator, rows, monkeypatch, at_once
):
    monkeypatch.setattr("backoffice.sales_report.ENTRIES_AT_ONCE", at_once)
    for _ in range(3):
        order_id = factories.order(rows["ledgeraccount"], card_amount=700)  # type: ignore[arg-type]
        with transaction.atomic():
            sales.settle_sale(order_id=order_id, points_amount=0, card_amount=700)

    with CaptureQueriesContext(connection) as captured:
        answer = operator.get("/admin/ledger/sales/balance/")
        balance = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]

    assert "2,800 KRW" in balance and "(4 entries)" in balance
    sums = [one["sql"] for one in captured if "SUM(" in one["sql"]]
    assert len(sums) == -(-4 // at_once)


def test_the_balance_is_for_those_who_see_the_ledger_and_of_the_shops_accounts_alone(operator, client):
    assert operator.get("/admin/ledger/wallet/balance/").status_code == 404
    client.force_login(staff_member())
    assert client.get("/admin/ledger/sales/balance/").status_code == 403


def test_a_reconciliation_shows_what_it_found_and_nothing_of_it_as_html(operator, rows):
    page = operator.get(reverse("admin:payments_reconciliation_change", args=[rows["reconciliation"]]))

    assert b"&lt;b&gt;orphan&lt;/b&gt;" in page.content and b"<b>orphan" not in page.content
    assert b"700 is charged, and no payment knows of it" in page.content
    assert b"refunded" in page.content
