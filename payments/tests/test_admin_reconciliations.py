"""The admin's pages of reconciliations: each difference says what to do, and some are fixed there."""

from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from payments.gateways import gateway
from payments.models import Reconciliation
from payments.reconciliation import reconciling
from payments.reconciliation.comparison import Kind
from payments.tests.factories import PaymentFactory
from payments.tests.own_gateway import nobody_there
from payments.tests.test_reconciling import late, orphan, refunded_amount
from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.confirming import said
from shop.tests.factories import AccountFactory
from shop.tests.racing import race, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_gateway")]
VIEW, FIX = "payments.view_reconciliation", "payments.change_reconciliation"


@pytest.fixture
def ada() -> User:
    return AccountFactory(username="ada", is_staff=True, permissions=[VIEW, FIX, "payments.view_payment"])


def page_of(run: Reconciliation, action: str = "change") -> str:
    return reverse(f"admin:payments_reconciliation_{action}", args=[run.pk])


def fix(client: Client, run: Reconciliation, key: str) -> list[str]:
    fields = {"key": key, "reason": "it is ours", "form_id": str(uuid7())}
    return said(client, client.post(page_of(run, "fix"), fields))


def test_every_kind_of_difference_has_an_advice() -> None:
    assert set(reconciling.ADVICE) == set(Kind)


@pytest.mark.parametrize("make", [orphan, lambda: late().charge_key], ids=["no payment", "payment ended"])
def test_an_orphaned_charge_is_refunded_after_a_question(ada: User, make: Any) -> None:
    key, client = make(), signed_in(ada)
    run = reconciling.reconcile()
    question = client.get(page_of(run, "fix"), {"key": key}).content.decode()
    assert key in question and "It can't be undone" in question.replace("&#x27;", "'")
    assert refunded_amount(key) == 0

    assert fix(client, run, key) == [f"The charge of {key} is refunded."]

    assert refunded_amount(key) in (500, 700)
    run.refresh_from_db()
    assert (run.findings[0]["done"], reconciling.is_clean(run)) == ("refunded", True)
    line = JournalLine.objects.get(what="reconciliation.fixed")
    assert (line.actor_name, line.detail, line.is_internal) == ("ada", "it is ours", True)
    assert JournalLine.objects.get(what="charge.late_refunded").actor_name == "ada"
    assert page_of(run, "fix") not in client.get(page_of(run)).content.decode()


def test_a_fix_that_is_sent_often_refunds_once(ada: User) -> None:
    key = orphan()
    run = reconciling.reconcile()
    fields = {"key": key, "reason": "it is ours", "form_id": str(uuid7())}
    answers = race([partial(signed_in(ada).post, page_of(run, "fix"), fields) for _ in range(5)])
    assert {answer.status_code for answer in answers} == {302}
    assert fix(signed_in(ada), run, key) == [f"The charge of {key} is refunded."]
    assert refunded_amount(key) == 700
    run.refresh_from_db()
    assert run.refunded == 1
    assert JournalLine.objects.filter(what="charge.late_refunded").count() == 1


def test_a_difference_that_is_gone_is_not_refunded(ada: User) -> None:
    key = orphan()
    run = reconciling.reconcile()
    reference = gateway().find(key=key).reference
    gateway().refund(key="by hand", charge_reference=reference, amount=700)
    assert fix(signed_in(ada), run, key) == [f"The books agree about {key} now; nothing was refunded."]
    run.refresh_from_db()
    assert (run.findings[0]["done"], run.refunded) == ("agrees", 0)


def test_a_difference_of_another_kind_is_not_refunded(ada: User) -> None:
    payment = PaymentFactory.create(settled=True, status="succeeded", card_amount=400)
    gateway().charge(
        key=payment.charge_key, token="tok_ok", amount=500, currency="KRW", order_id=payment.order_id
    )
    run = reconciling.reconcile()
    assert run.findings[0]["kind"] == "wrong_charge"
    client = signed_in(ada)
    assert "This can't be done here" in client.get(
        page_of(run, "fix"), {"key": payment.charge_key}
    ).content.decode().replace("&#x27;", "'")
    [message] = fix(client, run, payment.charge_key)
    assert message.startswith("Nothing was done: 500")
    assert refunded_amount(payment.charge_key) == 0


def test_a_gateway_that_is_away_is_reported_and_nothing_is_recorded(ada: User, settings: Any) -> None:
    key = orphan()
    run = reconciling.reconcile()
    with nobody_there(settings):
        [message] = fix(signed_in(ada), run, key)
    assert message.startswith("The gateway's book can't be read")
    run.refresh_from_db()
    assert run.findings[0]["done"] == ""
    assert refunded_amount(key) == 0


def test_a_key_that_was_not_found_has_no_page(ada: User) -> None:
    run = reconciling.reconcile()
    client = signed_in(ada)
    assert client.get(page_of(run, "fix"), {"key": "another"}).status_code == 404
    assert client.post(page_of(run, "fix"), {"key": "another", "reason": "x"}).status_code == 404
    assert client.get("/admin/payments/reconciliation/0/fix/", {"key": "k"}).status_code == 404


def test_a_fix_needs_its_permission() -> None:
    key = orphan()
    run = reconciling.reconcile()
    reader = signed_in(AccountFactory(is_staff=True, permissions=[VIEW]))
    assert page_of(run, "fix") not in reader.get(page_of(run)).content.decode()
    assert reader.get(page_of(run, "fix"), {"key": key}).status_code == 403
    assert reader.post(page_of(run, "fix"), {"key": key, "reason": "x"}).status_code == 403
    compare = reverse("admin:payments_reconciliation_compare")
    assert reader.get(compare).status_code == 403
    assert signed_in(AccountFactory()).get(page_of(run, "fix")).status_code == 302
    assert refunded_amount(key) == 0


def test_a_comparison_is_requested_once_for_a_form(ada: User, broker_server: Any) -> None:
    client, page = signed_in(ada), reverse("admin:payments_reconciliation_compare")
    form = client.get(page).context["form"]
    fields = {"form_id": str(form["form_id"].value()), "reason": "after an outage"}
    for _ in range(2):
        client.post(page, fields)
    wait_until(lambda: broker_server.llen("celery") > 0)
    shown = client.get(reverse("admin:payments_reconciliation_changelist"))
    assert [str(message) for message in shown.context["messages"]] == [
        "A worker compares the books now: reload to see what it finds.",
        "This form was sent before; nothing was done again. "
        "A worker compares the books now: reload to see what it finds.",
    ]
    assert broker_server.llen("celery") == 1
    line = JournalLine.objects.get(what="reconciliation.requested")
    assert (line.actor_name, line.detail) == ("ada", "after an outage")
