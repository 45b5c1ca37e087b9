"""A stuck payment or refund in three sentences, and the one button, which leads to what its name says."""

import html
import time

import pytest

from accounts.tests.clients import signed_in
from foundation.tests.factories import SuperuserFactory, reloaded, set_columns
from orders.admin import situations
from orders.models import Saga
from orders.payment import gateway_lookups
from orders.selectors import with_final_lines
from orders.tests import buying, hanging, operating_pages
from orders.tests.hanging import away, impatient, product
from orders.tests.operating_pages import operator, page_of, press

__all__ = ["away", "impatient", "product"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client():
    return signed_in(operator("orders.change_saga"))


def situation_of(row: Saga) -> situations.Situation:
    found = situations.read(with_final_lines(Saga.objects.all()).get(pk=row.pk))
    assert found
    return found


def test_a_charge_that_succeeded_finishes_the_sale(client, product, impatient):
    row = hanging.stuck_at_charge(product)
    situation = situation_of(row)
    assert situation.happened.startswith("The card was to be charged 700 KRW, and the shop doesn't know")
    assert situation.gateway.startswith("The gateway has charged 700 KRW (")
    assert situation.button == "Finish the sale: the card was charged"
    page = client.get(page_of(row.about_id)).text
    assert situation.address.replace("&", "&amp;") in page
    assert "Retry" not in page and "compensated" not in page

    press(client, situation.address)
    hanging.advance(row)
    assert buying.state_of(row.about_id) == "paid"
    assert situation_is_over(row)


def situation_is_over(row: Saga) -> bool:
    return situations.read(with_final_lines(Saga.objects.all()).get(pk=row.pk)) is None


def test_nothing_charged_frees_the_stock(client, product, impatient):
    row = hanging.in_doubt(product, "tok_error")
    set_columns(row, state=Saga.State.STUCK)
    situation = situation_of(row)
    assert situation.gateway == "The gateway has nothing under this payment's key so far."
    assert situation.button == "Free the stock: nothing was charged"
    press(client, situation.address)
    hanging.advance(row)
    assert buying.state_of(row.about_id) == "payment_failed"


def test_money_that_is_back_is_not_given_back_again(client, product, impatient):
    row = hanging.stuck_at_charge(product)
    hanging.refund_by_hand(row)
    assert situation_of(row).button == "Free the stock: nothing was charged"


def test_a_payment_that_was_called_off_ends(client, product, away):
    row = hanging.stuck_in_compensation(product, away)
    silent = situation_of(row)
    assert silent.button == ""
    assert silent.happened == (
        "The gateway hasn't answered; the purchase is being cancelled. Whether the card was charged isn't "
        "known yet."
    )
    staff = signed_in(SuperuserFactory())
    for kind, id in (
        ("orders/order", row.about_id),
        ("orders/saga", row.pk),
        ("payments/payment", row.subject_id),
    ):
        page = html.unescape(staff.get(f"/admin/{kind}/{id}/change/").text)
        assert silent.happened in page and silent.buyer in page, kind
    assert staff.get(f"/admin/orders/order/{row.about_id}/change/").text.count("being cancelled") == 2
    home = html.unescape(staff.get("/admin/").text)
    assert silent.happened in home and "The gateway has answered every charge." in home

    away.back()
    situation = situation_of(row)
    assert "is cancelling the payment of 700 KRW" in situation.happened
    assert situation.button == "Free the stock: nothing was charged"
    press(client, situation.address)
    hanging.advance(row)
    assert reloaded(row).state == Saga.State.COMPENSATED


def test_a_gateway_without_an_answer_takes_a_second_at_most_and_nothing_is_recommended_but_to_wait(
    client, product, impatient, own_gateway, settings
):
    row = hanging.stuck_at_charge(product)
    settings.GATEWAY_TIMEOUT_SECONDS = 3.0
    own_gateway.post("/latency", {"ms": 2_500})
    began = time.monotonic()
    situation = situation_of(row)
    taken = time.monotonic() - began
    own_gateway.call("DELETE", "/latency")
    assert taken < gateway_lookups.BRIEFLY_SECONDS + 0.5
    assert situation.gateway == "The gateway did not answer within a second."
    assert (situation.button, situation.address) == ("", "")
    assert "wait" in str(situation.advice)


def test_a_refund_that_the_gateway_does_not_answer_is_sent_again(client, own_gateway, away):
    order = operating_pages.paid_order()
    away.take("GATEWAY_URL")
    buying.refund(order, order.lines.get().product)
    row = Saga.objects.get(kind="refund")
    hanging.advance(row)
    set_columns(row, state=Saga.State.STUCK)
    away.back()
    situation = situation_of(row)
    assert situation.happened.startswith("500 KRW was to go back to the card")
    assert situation.button == "Give the money back to the card"
    press(client, situation.address)
    hanging.advance(row)
    assert reloaded(row).state == Saga.State.DONE


def test_who_may_not_see_payments_is_not_told_and_who_may_not_act_has_no_button(product, impatient):
    row = hanging.stuck_at_charge(product)
    address = situation_of(row).address
    page = signed_in(operator()).get(page_of(row.about_id)).text
    assert "The gateway has charged 700 KRW" in page and address not in page
