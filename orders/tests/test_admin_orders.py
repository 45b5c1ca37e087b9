"""The admin's page of an order: what it shows, by a bounded number of queries, its actions."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from orders.models import Order
from orders.payment import gateway_bookings
from orders.tests import buying, operating_pages
from orders.tests.operating_pages import messages_of, operator, page_of, press
from payments.models import Payment
from scripts.tests.simulator import Simulator
from shop.models import JournalLine
from shop.tests.case_tables import in_one_test
from shop.tests.clients import signed_in
from shop.tests.delivering import deliver_all, deliver_due
from shop.tests.factories import AccountFactory
from shop.tests.racing import race
from shop.webhook_models import WebhookDelivery

pytestmark = pytest.mark.django_db(transaction=True)
CANCEL, REPLAY = "orders.change_order", "shop.change_journalline"


def shown_page_of(client: Client, order: Order) -> Any:
    return client.get(page_of(order)).context["order_page"]


def test_parts_need_the_permission_to_view_them() -> None:
    order = operating_pages.paid_order()
    reader = AccountFactory(is_staff=True, permissions=["orders.view_order"])
    response = signed_in(reader).get(page_of(order))
    shown, page = response.context["order_page"], response.content.decode()
    assert shown["hidden"] == ["payment", "refunds", "sagas", "ledger", "journal and events"]
    assert not shown.keys() & {"payments", "refunds", "timelines", "transfers", "journal", "events"}
    assert (shown["account_page"], shown["coupon_page"], shown["journal_page"]) == ("", "", "")
    assert "Not shown, for lack of a permission: payment" in page
    assert Payment.objects.get(order=order).charge_reference not in page


def test_the_page_shows_a_dispute_and_who_made_a_refund(own_gateway: Simulator) -> None:
    order = operating_pages.paid_order()
    payment = Payment.objects.get(order=order)
    asked = {"charge": payment.charge_reference, "amount": 200}
    own_gateway.post("/disputes", asked, key="owner")
    own_gateway.post("/refunds", asked | {"amount": 300}, key="clerk")
    assert gateway_bookings.look_up(payment)[0]
    client = signed_in(operator())
    page = client.get(page_of(order)).content.decode()
    shown = shown_page_of(client, order)
    assert (shown["payments"][0]["dispute"].amount, shown["refunds"][0].get_source_display()) == (
        200,
        "gateway",
    )
    assert "200 KRW, to be answered" in re.sub(r"<[^>]*>", "", page)
    assert "to be answered at the gateway until" in page
    disputed = reverse("admin:payments_payment_changelist") + "?show=disputed"
    assert str(payment.id) in client.get(disputed).content.decode()


def test_an_unpaid_order_is_cancelled_with_its_reason() -> None:
    ada, order = operator(CANCEL), operating_pages.unpaid_order()
    client = signed_in(ada)
    assert page_of(order, "cancel") in client.get(page_of(order)).content.decode()

    sent, messages = press(client, page_of(order, "cancel"), page_of(order), reason="asked by <phone>")

    assert sent["Location"] == page_of(order)
    assert messages == ["The order is cancelled: what it held is released."]
    assert buying.state_of(order.id) == "cancelled"
    noted = JournalLine.objects.get(what="order.cancelled_by_staff")
    assert (noted.actor, noted.actor_id, noted.detail) == ("staff", ada.id, "asked by <phone>")
    assert noted.is_internal and noted.order_id == order.id
    page = client.get(page_of(order)).content.decode()
    assert "asked by &lt;phone&gt;" in page and page_of(order, "cancel") not in page
    assert buying.broken_laws() == []


def test_a_paid_order_is_not_cancelled() -> None:
    client, order = signed_in(operator(CANCEL)), operating_pages.paid_order()
    assert page_of(order, "cancel") not in client.get(page_of(order)).content.decode()
    _, messages = press(client, page_of(order, "cancel"), page_of(order))
    assert messages == ["The order is paid: ask for a refund instead."]
    assert buying.state_of(order.id) == "paid"


def test_the_events_of_an_order_are_sent_again_in_sequence(own_data_platform: Any) -> None:
    order = operating_pages.paid_order()
    buying.execute_refund(buying.refund(order.id))
    deliver_due()
    ada = operator(REPLAY)
    events = WebhookDelivery.objects.order_by("id").values_list("event_id", "status")
    (paid, _), (refunded, _) = events

    _, messages = press(signed_in(ada), page_of(order, "resend_events"), page_of(order), reason="lost there")

    assert messages == ["2 queued: they are delivered within seconds, in sequence."]
    assert list(events.all()) == [(paid, "pending"), (refunded, "pending")]
    noted = JournalLine.objects.filter(what="event.resent")
    assert {(line.actor_name, line.detail) for line in noted} == {("ada", "lost there")}
    assert deliver_due() == 2
    assert list(events.all()) == [(paid, "delivered"), (refunded, "delivered")]
    assert buying.broken_laws() == []


def test_a_replay_that_is_sent_twice_is_done_once() -> None:
    order, ada = operating_pages.paid_order(), operator(REPLAY)
    deliver_all()
    client, page = signed_in(ada), page_of(order, "resend_events")
    fields = operating_pages.hidden_fields(client.get(page).context["form"]) | {"reason": "lost there"}
    race([lambda: signed_in(ada).post(page, fields) for _ in range(4)])
    client.get(page_of(order))
    client.post(page, fields)
    assert messages_of(client.get(page_of(order))) == [
        "This form was sent before; nothing was done again. "
        "1 queued: they are delivered within seconds, in sequence."
    ]
    assert JournalLine.objects.filter(what="event.resent").count() == 1


def test_an_order_without_events_is_not_replayed() -> None:
    order, client = operating_pages.unpaid_order(), signed_in(operator(REPLAY))
    assert page_of(order, "resend_events") not in client.get(page_of(order)).content.decode()
    _, messages = press(client, page_of(order, "resend_events"), page_of(order))
    assert messages == ["The order has no events: they are written when it is paid, refunded or cancelled."]


@pytest.mark.django_db
@in_one_test("action", ["cancel", "resend_events", "refund"])
def test_actions_on_an_unknown_order_are_not_found(action: str) -> None:
    client = signed_in(operator(*operating_pages.ACT))
    for id in ("nothing", "01a1f8f3-b7e1-76e7-bd12-0a158cc49d52"):
        page = reverse(f"admin:orders_order_{action}", args=[id])
        fields = {"reason": "x", "form_id": str(uuid7())}
        assert client.post(page, fields).status_code == 404
