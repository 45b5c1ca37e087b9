"""The admin's pages of orders and payments: what they show, by a bounded number of queries, their actions."""

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from events.models import WebhookDelivery
from events.tests.delivering import deliver_all, deliver_due
from events.webhooks import deliveries
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import said
from foundation.tests.factories import SuperuserFactory, set_columns, staff_member
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race, wait_until
from orders.models import Refund, Saga
from orders.payment import gateway_bookings, gateway_lookups
from orders.saga import rows as saga_rows
from orders.tests import buying, hanging, operating_pages
from orders.tests.hanging import impatient, product
from orders.tests.operating_pages import hidden_fields, messages_of, operator, page_of, press
from orders.tests.owners import charge_of
from payments.gateways import gateway
from payments.models import Payment
from payments.tests.factories import PaymentFactory

__all__ = ["impatient", "product"]
pytestmark = pytest.mark.django_db(transaction=True)
CANCEL, REPLAY = "orders.change_order", "shop.change_journalline"


def test_parts_need_the_permission_to_view_them():
    order = operating_pages.paid_order(discount=100)
    reader = staff_member("orders.view_order")
    response = signed_in(reader).get(page_of(order))
    shown, page = response.context["order_page"], response.text
    assert shown["hidden"] == ["payment", "refunds", "technical log", "ledger", "journal and events"]
    assert not shown.keys() & {"payments", "refunds", "timelines", "transfers", "journal", "events"}
    assert not any(f"/admin/{link}/" in page for link in ("auth/user", "coupons/coupon", "shop/journalline"))
    assert "You lack the right to see: payment" in page
    assert Payment.objects.get(order=order).charge_reference not in page


def test_the_page_shows_a_dispute_and_who_made_a_refund(own_gateway):
    order = operating_pages.paid_order()
    payment = Payment.objects.get(order=order)
    asked = {"charge": payment.charge_reference, "amount": 200}
    own_gateway.post("/disputes", asked, key="owner")
    own_gateway.post("/refunds", asked | {"amount": 300}, key="clerk")
    assert gateway_bookings.look_up(payment).is_booked
    client = signed_in(operator())
    page = client.get(page_of(order)).text
    shown = client.get(page_of(order)).context["order_page"]
    assert shown["payments"][0]["dispute"].amount == 200
    assert shown["refunds"][0].get_source_display() == "gateway"
    assert "200 KRW, answer" in re.sub(r"<[^>]*>", "", page)
    assert "answer at the gateway by" in page
    disputed = reverse("admin:payments_payment_changelist") + "?show=disputed"
    assert str(payment.id) in client.get(disputed).text


def test_an_unpaid_order_is_cancelled_with_its_reason():
    ada, order = operator(CANCEL), operating_pages.unpaid_order()
    client = signed_in(ada)
    assert page_of(order, "cancel") in client.get(page_of(order)).text

    sent, messages = press(client, page_of(order, "cancel"), reason="asked by <phone>")

    assert sent["Location"] == page_of(order)
    assert messages == ["The order is cancelled. Its stock and coupon are free again."]
    assert buying.state_of(order) == "cancelled"
    noted = journal_line("order.cancelled_by_staff")
    assert (noted.actor, noted.actor_id, noted.detail) == ("staff", ada.id, "asked by <phone>")
    assert noted.is_internal and noted.order_id == order.id
    assert "asked by &lt;phone&gt;" in client.get(page_of(order, "history")).text
    assert page_of(order, "cancel") not in client.get(page_of(order)).text


def test_a_paid_order_is_not_cancelled():
    client, order = signed_in(operator(CANCEL)), operating_pages.paid_order()
    assert page_of(order, "cancel") not in client.get(page_of(order)).text
    _, messages = press(client, page_of(order, "cancel"))
    assert messages == ["The order is paid: ask for a refund instead."]
    assert buying.state_of(order) == "paid"


def test_the_events_of_an_order_are_sent_again_in_sequence(own_data_platform):
    order = operating_pages.paid_order()
    buying.refunded(order)
    deliver_due()
    ada = operator(REPLAY)
    paid, refunded = (row.event_id for row in deliveries.of_order(order.id))
    rows = WebhookDelivery.objects.filter(first_position=None).order_by("id")
    events = rows.values_list("event_id", "status")

    _, messages = press(signed_in(ada), page_of(order, "resend_events"), reason="lost there")

    assert messages == ["Events that are sent again: 2. They arrive within seconds."]
    assert list(events.all()) == [(paid, "pending"), (refunded, "pending")]
    noted = JournalLine.objects.filter(what="event.resent")
    assert {(line.actor_name, line.detail) for line in noted} == {("ada", "lost there")}
    assert deliver_due() == 2
    assert list(events.all()) == [(paid, "delivered"), (refunded, "delivered")]


def test_a_replay_that_is_sent_twice_is_done_once():
    order, ada = operating_pages.paid_order(), operator(REPLAY)
    deliver_all()
    client, page = signed_in(ada), page_of(order, "resend_events")
    fields = hidden_fields(client.get(page).context["form"]) | {"reason": "lost there"}
    race([lambda: signed_in(ada).post(page, fields) for _ in range(4)])
    client.get(page_of(order))
    client.post(page, fields)
    assert messages_of(client.get(page_of(order))) == [
        "This form was sent before; nothing was done again. "
        "Events that are sent again: 1. They arrive within seconds."
    ]
    assert times_noted("event.resent") == 1


def test_an_order_without_events_is_not_replayed():
    order, client = operating_pages.unpaid_order(), signed_in(operator(REPLAY))
    assert page_of(order, "resend_events") not in client.get(page_of(order)).text
    _, messages = press(client, page_of(order, "resend_events"))
    assert messages == ["The order has no events: they are written when it is paid, refunded or cancelled."]


@pytest.mark.django_db
@in_one_test("action", ["cancel", "resend_events", "refund"])
def test_actions_on_an_unknown_order_are_not_found(action):
    client = signed_in(operator(*operating_pages.ACT))
    for id in ("nothing", "01a1f8f3-b7e1-76e7-bd12-0a158cc49d52"):
        page = reverse(f"admin:orders_order_{action}", args=[id])
        fields = {"reason": "x", "form_id": str(uuid7())}
        assert client.post(page, fields).status_code == 404


LIST = reverse("admin:payments_payment_changelist")


@pytest.fixture
def ada():
    return operator("payments.change_payment")


@pytest.fixture
def doubtful(product, impatient):
    """The saga of a payment that was charged, whose reply never came."""
    return hanging.in_doubt(product)


def payment_page_of(payment: Payment, action="change") -> str:
    return reverse(f"admin:payments_payment_{action}", args=[payment.id])


def listed(client: Client, **query: str) -> set[Any]:
    return {row.id for row in client.get(LIST, query).context["cl"].result_list}


def ask(client: Client, payment: Payment) -> list[str]:
    return press(client, payment_page_of(payment, "look_up"), reason="asked by mail")[1]


def test_the_list_opens_with_the_payments_in_doubt(ada, product, doubtful):
    client, pending = signed_in(ada), Payment.objects.get(order_id=hanging.started(product).about_id)
    paid = Payment.objects.get(order=operating_pages.paid_order())
    in_doubt = hanging.payment_of(doubtful)
    assert listed(client) == listed(client, show="in_doubt") == {in_doubt.id}
    assert listed(client, show="unsettled") == {in_doubt.id, pending.id}
    assert listed(client, show="everything") == {in_doubt.id, pending.id, paid.id}
    assert listed(client, o="1") == {in_doubt.id}


def test_the_gateways_answer_is_shown_and_the_payment_continues(ada, doubtful):
    payment, client = hanging.payment_of(doubtful), signed_in(ada)
    assert payment_page_of(payment, "look_up") in client.get(payment_page_of(payment)).text
    reference = charge_of(payment).reference

    [message] = ask(client, payment)

    assert message == (
        f"The gateway has charged 700 KRW ({reference}). The payment is in doubt, and goes on now."
    )
    line = journal_line("payment.looked_up")
    assert (line.actor_name, line.detail, line.reference) == ("ada", "asked by mail", reference)
    assert (line.is_internal, line.order_id) == (True, payment.order_id)
    assert message.partition(". ")[0] in client.get(payment_page_of(payment)).text
    set_columns(doubtful, leased_until=None)
    hanging.advance(doubtful)
    assert buying.state_of(doubtful.about_id) == "paid"


def test_a_payment_that_settles_while_the_gateway_is_asked_is_described_as_it_is_afterwards(
    ada, doubtful, monkeypatch
):
    def settle_meanwhile(key):
        result = gateway().find(key=key)
        set_columns(doubtful, leased_until=None)
        hanging.advance(doubtful)
        return result

    settling = SimpleNamespace(find=settle_meanwhile)
    monkeypatch.setattr(gateway_bookings, "gateways", SimpleNamespace(of=lambda books: settling))
    [message] = ask(signed_in(ada), hanging.payment_of(doubtful))
    assert message.endswith("That agrees with the payment, which is succeeded.")


def test_the_saga_is_enqueued_for_a_worker(ada, doubtful, broker_server):
    ask(signed_in(ada), hanging.payment_of(doubtful))
    wait_until(lambda: broker_server.llen("celery") > 0)
    sent = [orjson.loads(message)["headers"]["task"] for message in broker_server.lrange("celery", 0, -1)]
    assert set(sent) == {"orders.advance"}
    assert saga_rows.due().filter(id=doubtful.id).exists()


def test_a_settled_payment_is_compared_with_the_answer(ada, own_gateway, unlawful):
    client, payment = signed_in(ada), Payment.objects.get(order=operating_pages.paid_order())
    assert "That agrees with the payment, which is succeeded." in ask(client, payment)[0]
    gateway().refund(key="by hand", charge_reference=payment.charge_reference, amount=100)
    [message] = ask(client, payment)
    assert "of which 100 KRW is refunded" in message
    assert message.endswith("That agrees with the payment, which is succeeded."), "it is booked"
    assert (Refund.objects.get().source, Refund.objects.get().card_amount) == ("gateway", 100)
    set_columns(payment, refunded_amount=200)
    [message] = ask(client, payment)
    assert message.endswith("which is succeeded. The comparisons with the gateway say what to do.")


def test_a_gateway_that_is_away_is_reported_at_once(ada, doubtful, away):
    away.take("GATEWAY_URL")
    [message] = ask(signed_in(ada), hanging.payment_of(doubtful))
    away.back()
    assert message.startswith("The gateway gave no answer: ")
    assert message.endswith("Nothing has changed. The shop goes on asking by itself.")
    assert hanging.payment_of(doubtful).status == "in_doubt"


def test_no_more_look_ups_wait_at_once_than_threads(ada, doubtful, own_gateway, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 2.0
    page, clients = (
        payment_page_of(hanging.payment_of(doubtful), "look_up"),
        [signed_in(ada) for _ in range(7)],
    )
    forms = [hidden_fields(one.get(page).context["form"]) | {"reason": "all at once"} for one in clients]
    own_gateway.post("/latency", {"ms": 3_000})
    answers = race([partial(one.post, page, fields) for one, fields in zip(clients, forms, strict=True)])
    own_gateway.call("DELETE", "/latency")
    texts = [said(one, answer)[0] for one, answer in zip(clients, answers, strict=True)]
    refused = [text for text in texts if text.startswith("4 look-ups wait for the gateway already.")]
    assert len(refused) == len(clients) - gateway_lookups.MOST_AT_ONCE


def test_a_payment_by_points_is_not_asked_about(ada, unlawful):
    payment, client = PaymentFactory(points_amount=500, card_amount=0), signed_in(ada)
    assert payment_page_of(payment, "look_up") not in client.get(payment_page_of(payment)).text
    assert ask(client, payment) == ["The payment is by points alone: the gateway knows nothing of it."]


def test_the_history_of_an_order_and_of_what_belongs_to_it_is_the_journal_in_words(client_of_all):
    order = operating_pages.paid_order(points=100)
    press(client_of_all, page_of(order, "note"), reason="He called twice.")
    payment = Payment.objects.get(order=order)
    saga = Saga.objects.get(subject_id=payment.pk)
    for row, word in (
        (order, "Note added"),
        (payment, "Charge card: done"),
        (saga, "Settle: done"),
        (order.account, "Points granted"),
        (order.lines.get().product, "Sold"),
    ):
        page = f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/history/"
        text = client_of_all.get(page).text
        assert word in text and "change history" not in text
    told, steps = client_of_all.get(page_of(order, "history")).context["parts"]
    assert {"order.paid", "order.note_added"} <= {line.what for line in told}
    assert "settle.done" in {line.what for line in steps}

    opened = client_of_all.get("/admin/shop/journalline/")
    [line] = opened.context["cl"].result_list
    assert (line.what, str(order) in line.about) == ("order.note_added", True)
    assert "Note added" in opened.text and "aria-current" in opened.text
    chosen = client_of_all.get("/admin/shop/journalline/?happened=order.paid")
    assert [one.what for one in chosen.context["cl"].result_list] == ["order.paid"]
    assert '<option value="order.paid" selected>Order: Paid</option>' in chosen.text


def test_an_order_says_what_is_known_of_its_money(client_of_all, product, impatient):
    saga = hanging.in_doubt(product, "tok_error")
    page = client_of_all.get(page_of(saga.about_id))
    payment = Payment.objects.get(pk=saga.subject_id)
    assert (
        "the shop asks again by itself. Whether the card was charged" in page.text
        and "Pay by" not in page.text
    )
    assert f"/admin/payments/payment/{payment.pk}/look_up" in page.text
    payment_page = client_of_all.get(f"/admin/payments/payment/{payment.pk}/change/").text
    assert "Tell the buyer: “Your payment" in payment_page and "700 KRW" in payment_page

    for status, text in (
        ("failed", "Nothing was charged."),
        ("reversed", "What was charged was given back."),
    ):
        set_columns(payment, status=status, failure_code="gave_up", settled_at=payment.created_at, token="")
        shown = client_of_all.get(page_of(saga.about_id)).text
        assert f"Not paid. {text}" in shown and "gave up" not in shown


def test_nothing_is_stuck_and_the_last_button_says_that_the_order_is_cancelled(client_of_all):
    assert "Nothing is stuck." in client_of_all.get("/admin/orders/saga/").text
    order = operating_pages.paid_order()
    opened = client_of_all.get(page_of(order, "refund")).context["form"]
    form = hidden_fields(opened) | {"what": "all", "reason": "-", "live": "yes"}
    of_all = client_of_all.post(page_of(order, "cancel_and_refund"), form).json()
    assert of_all["amount"] == "Cancel and refund 1,500 KRW"
    assert client_of_all.post(page_of(order, "refund"), form).json()["amount"] == "Refund 1,500 KRW"
    korean = client_of_all.post(page_of(order, "refund"), form, headers={"Accept-Language": "ko"}).json()
    assert korean["amount"] == "1,500원 환불"


@pytest.fixture
def client_of_all():
    return signed_in(SuperuserFactory(username="olga"))
