"""The operators' pages of one account and of one product: what they show, to whom, and their actions."""

import re
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.html import strip_tags

from accounts.models import SignOut
from accounts.personal_data import erasure
from accounts.tests.clients import client_of, signed_in
from accounts.tokens import token_pairs
from coupons import issuing
from coupons.models import Coupon, QueueTicket
from coupons.tests.factories import CampaignFactory, coupon_of
from foundation import clock
from foundation.account import TokenInvalid
from foundation.rates import rate_limits
from foundation.tests import process_state
from foundation.tests.confirming import confirmed, message_of, shown, to_confirm
from foundation.tests.factories import (
    AccountFactory,
    OrderFactory,
    SuperuserFactory,
    reloaded,
    set_columns,
    staff_member,
)
from foundation.tests.journal_lines import journal_lines, times_noted
from foundation.tests.racing import race
from inventory.tests.factories import ProductFactory, StockMovementFactory
from orders.models import Order
from orders.tests.buying import order_of
from payments import ledger
from payments.models import Entry, Payment
from payments.tests.factories import wallet

pytestmark = pytest.mark.django_db
SHOWN_BY = {
    "orders.view_order": ["Newest orders", "Limits"],
    "coupons.view_coupon": ["Newest coupons"],
    "coupons.view_queueticket": ["Newest queue tickets"],
    "payments.view_entry": ["Wallet: 500 KRW"],
    "shop.view_journalline": ["Sign-ins and changes"],
}


@pytest.fixture
def operator():
    return signed_in(SuperuserFactory(username="olga"))


@pytest.fixture
def ada():
    return User.objects.get(pk=wallet(points=500))


def page_of(account: User) -> str:
    return reverse("account-page", args=[account.pk])


def address_of(action: str, account: User) -> str:
    return reverse(f"account-{action}", args=[account.pk])


def rows(page, title: str) -> list[list[str]]:
    [section] = [section for section in page.context["sections"] if section["title"].startswith(title)]
    return [[str(cell) for cell in row] for row in section["table"]["rows"]]


def buy(account: User, product, quantity: int) -> str:
    body = order_of(product, quantity=quantity)
    answer = client_of(account).post("/orders", body, key=f"order {Order.objects.count()}")
    assert answer.status_code == 201, answer.json()
    return str(answer.json()["id"])


def lines(what: str) -> list[tuple[str, str, str]]:
    found = journal_lines(what)
    return [(line.subject, line.actor_name, line.detail) for line in found]


def test_the_page_shows_what_the_account_has_in_every_app_and_its_limits(operator, ada):
    product = ProductFactory(sku="TEA", on_hand=9, limit_per_account=3)
    coupon = coupon_of(CampaignFactory(name="Spring"), ada)
    queue = CampaignFactory(name="Queued", strategy="queue")
    client_of(ada).post("/coupons", {"campaign": queue.pk})
    order = buy(ada, product, 3)
    at = dict.fromkeys(["created_at", "settled_at", "declined_at"], clock.now())
    Payment.objects.create(account=ada, status="failed", card_amount=5, charge_key="declined", **at)
    rate_limits.synchronize()
    process_state.forget_calls()

    page = operator.get(page_of(ada))

    assert order in rows(page, "Newest orders")[0][0]
    assert coupon.code in rows(page, "Newest coupons")[0][0]
    assert rows(page, "Wallet: 500 KRW")[0][1:3] == ["+500", "500"]
    assert str(QueueTicket.objects.get().pk) in rows(page, "Newest queue tickets")[0][0]
    assert page.text.count("<section") == len(page.context["sections"]) - 1
    [limits] = [section["limits"] for section in page.context["sections"] if section["title"] == "Limits"]
    used = {(strip_tags(one["what"]), one["counted"]): (one["used"], one["most"]) for one in limits}
    assert used["unpaid orders", "now"] == (1, 20)
    assert used["TEA", "unpaid units"] == (3, 1_000)
    assert used["TEA", "units, unpaid and paid"] == (3, 3)
    assert used["declined payments", "in the last 10 min"] == (1, 10)
    assert used["orders placed", "in the last 1 min"] == (1, 60)
    # One bar is full, and drawn so.
    assert page.text.count("fc-threshold") == 1


@pytest.mark.parametrize("permission", SHOWN_BY)
def test_each_part_is_shown_with_the_permission_to_view_it(ada, permission):
    staff = staff_member("auth.view_user", permission)
    page = signed_in(staff).get(page_of(ada))
    assert [section["title"] for section in page.context["sections"]] == SHOWN_BY[permission]
    assert page.context["buttons"] == []


def test_only_superusers_sign_out_and_disable_staff_and_none_disables_themselves():
    colleague = staff_member()
    client = signed_in(staff_member("auth.change_user"))
    assert client.get(page_of(colleague)).context["buttons"] == []
    for action in ("sign-out", "disable", "enable"):
        assert client.post(address_of(action, colleague), {"confirmed": "yes"}).status_code == 403
    olga = SuperuserFactory()
    client = signed_in(olga)
    assert confirmed(client, address_of("disable", colleague), reason="left").status_code == 302
    colleague.refresh_from_db()
    assert not colleague.is_active
    assert client.get(address_of("disable", olga)).status_code == 403
    assert address_of("disable", olga) not in client.get(page_of(olga)).text
    # After signing out everywhere, an operator signs in again.
    assert confirmed(client, address_of("sign-out", olga), reason="lost the laptop").status_code == 302
    assert client.get(page_of(olga)).status_code == 302


def test_a_coupon_is_issued_once_with_the_operator_and_the_reason(operator, ada):
    campaign = CampaignFactory(name="Spring", quantity=1)
    address = address_of("issue-coupon", ada)
    sent = to_confirm(operator, address, campaign=campaign.pk, reason="ticket 12")
    assert not Coupon.objects.exists()

    assert operator.post(address, sent)["Location"] == page_of(ada)

    coupon = Coupon.objects.get()
    assert coupon.account == ada
    said = f"Coupon {coupon.code} of Spring is issued to {ada.username}."
    assert message_of(operator, page_of(ada)) == said
    # The campaign is sold out by now: a repeat is no error.
    operator.post(address, sent)
    assert message_of(operator, page_of(ada)) == f"This form was sent before; nothing was done again. {said}"
    page = operator.post(address, sent | {"campaign": CampaignFactory().pk})
    assert "This form was sent before, with other values" in page.text
    assert Coupon.objects.count() == 1
    assert lines("account.coupon_requested") == [(f"account {ada.pk}", "olga", "ticket 12")]
    assert lines("coupon.issued") == [(f"coupon {coupon.code}", "olga", "")]


def test_the_choices_are_the_running_campaigns_and_a_refusal_is_shown(operator, ada):
    running = CampaignFactory(name="Running")
    closed = CampaignFactory(name="Closed", closed=True)
    CampaignFactory(name="Scheduled", scheduled=True)
    address = address_of("issue-coupon", ada)
    form = operator.get(address).context["form"]
    assert [choice for choice, _ in form.fields["campaign"].widget.choices] == ["", running.pk]

    page = confirmed(operator, address, campaign=closed.pk, reason="ticket 12")
    assert page.status_code == 200 and "Closed is closed." in page.text
    unknown = confirmed(operator, address, campaign=999_999, reason="ticket 12")
    assert "There is no campaign 999999." in unknown.text
    assert not Coupon.objects.exists()


def test_a_campaign_for_everybody_is_a_choice_and_has_results(operator, ada):
    campaign = CampaignFactory(name="All", quantity=None)

    form = operator.get(address_of("issue-coupon", ada)).context["form"]
    results = operator.get(reverse("campaign-results", args=[campaign.pk]))

    assert form.fields["campaign"].widget.choices[1:] == [(campaign.pk, "All: for everybody, 0 issued")]
    assert results.context["issued"] == "0"


def test_the_reason_for_a_coupon_is_recorded_though_the_process_ends_once_it_is_issued(
    operator, ada, monkeypatch
):
    campaign = CampaignFactory(name="Spring")
    address = address_of("issue-coupon", ada)
    sent = to_confirm(operator, address, campaign=campaign.pk, reason="ticket 12")
    issue = issuing.issue

    def end_after(**given):
        issue(**given)
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(issuing, "issue", end_after)
        operator.post(address, sent)
    assert Coupon.objects.get().campaign == campaign
    assert lines("account.coupon_requested") == [(f"account {ada.pk}", "olga", "ticket 12")]

    operator.post(address, sent)
    assert "Nothing was issued." in message_of(operator, page_of(ada))
    assert lines("account.coupon_requested") == [(f"account {ada.pk}", "olga", "ticket 12")]


def test_points_are_granted_once_by_the_confirmation_with_amount_and_reason(operator, ada):
    address = address_of("grant-points", ada)
    page = shown(operator, address, amount=1_200, reason="late delivery")
    facts = dict(page.context["preview"].facts)
    assert facts == {"Balance now": "500 KRW", "Balance afterwards": "1,700 KRW"}
    assert ledger.balance_amount(ada.pk) == 500

    sent = dict(page.context["hidden"]) | {"confirmed": "yes"}
    said = f"{ada.username} got 1,200 KRW in points. The balance is 1,700 KRW now."
    for expected in (said, f"This form was sent before; nothing was done again. {said}"):
        assert operator.post(address, sent)["Location"] == page_of(ada)
        assert message_of(operator, page_of(ada)) == expected

    assert ledger.balance_amount(ada.pk) == 1_700
    entry = Entry.objects.filter(account_id=ada.pk).latest("id")
    assert (entry.transfer.kind, entry.transfer.reason) == ("grant", "late delivery")
    assert lines("points.grant")[-1] == (f"wallet {ada.pk}", "olga", "late delivery")


def test_a_wrong_amount_no_reason_and_an_account_that_was_disabled_meanwhile_are_refused(operator, ada):
    address, right = address_of("grant-points", ada), {"amount": 1_200, "reason": "late delivery"}
    for wrong in ({"amount": 0}, {"amount": -5}, {"amount": "x"}, {"amount": 10**30}, {"reason": " "}):
        assert confirmed(operator, address, **right | wrong).context["form"].errors, wrong
    sent = to_confirm(operator, address, **right)
    set_columns(ada, is_active=False)
    assert "There is no active account" in operator.post(address, sent).text
    assert ledger.balance_amount(ada.pk) == 500


def test_signing_out_everywhere_refuses_the_tokens_once(operator, ada):
    refresh = token_pairs.create_token_pair(ada).refresh
    address = address_of("sign-out", ada)
    sent = to_confirm(operator, address, reason="The phone was stolen.")
    assert token_pairs.rotate(refresh)
    refresh = token_pairs.create_token_pair(ada).refresh

    for _ in range(2):
        assert operator.post(address, sent)["Location"] == page_of(ada)

    with pytest.raises(TokenInvalid):
        token_pairs.rotate(refresh)
    at = SignOut.objects.get().at
    assert lines("account.signed_out_everywhere") == [(f"account {ada.pk}", "olga", "The phone was stolen.")]
    page = operator.get(page_of(ada))
    assert dict(page.context["facts"])["Signed out everywhere at"] == f"{at:%Y-%m-%d %H:%M:%S}"
    assert "Signed out everywhere" in " ".join(rows(page, "Sign-ins")[0])
    assert "The phone was stolen." in " ".join(rows(page, "Sign-ins")[0])


def test_an_account_is_disabled_and_enabled_with_a_reason(operator, ada):
    disable, enable = address_of("disable", ada), address_of("enable", ada)
    sent = to_confirm(operator, disable, reason="fraud")
    operator.post(disable, sent)
    assert not reloaded(ada).is_active
    buttons = {button.title for button, _ in operator.get(page_of(ada)).context["buttons"]}
    assert buttons == {"Sign out everywhere", "Enable", "Export its data", "Erase"}

    confirmed(operator, enable, reason="a mistake")
    assert reloaded(ada).is_active
    # The first form comes again, from a page that was left open: it has had its effect.
    operator.post(disable, sent)
    assert reloaded(ada).is_active
    assert lines("account.changed") == [
        (f"account {ada.pk}", "olga", "fraud"),
        (f"account {ada.pk}", "olga", "a mistake"),
    ]


# Its export and erasure

WHY = "Asked by e-mail."


def test_an_export_is_a_file_and_in_the_journal_with_the_operator_and_the_reason(operator, ada):
    answer = confirmed(operator, address_of("export", ada), reason=WHY)

    assert answer["Content-Disposition"] == f'attachment; filename="account-{ada.pk}.json"'
    assert [row["username"] for row in answer.json()["tables"]["auth.User"]] == [ada.username]
    assert lines("account.exported") == [(f"account {ada.pk}", "olga", WHY)]


def test_an_erasure_disables_first_and_erases_when_it_is_sent_again_and_says_what_is_open(
    operator, monkeypatch
):
    ada, bob = AccountFactory(username="ada"), AccountFactory()
    order = OrderFactory(account=bob, card_amount=500)

    confirmed(operator, address_of("erase", ada), reason=WHY)
    ada.refresh_from_db()
    assert (ada.username, ada.is_active) == ("ada", False)

    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))
    confirmed(operator, address_of("erase", ada), reason=WHY)
    ada.refresh_from_db()
    assert ada.username == f"erased-{ada.pk}"
    assert lines("account.erased") == [(f"account {ada.pk}", "olga", WHY)]
    refused = confirmed(operator, address_of("erase", bob), reason=WHY)
    assert str(order.pk) in refused.text
    bob.refresh_from_db()
    assert bob.is_active


@pytest.mark.parametrize("action", ["export", "erase"])
def test_each_needs_its_permission_and_staff_are_for_superusers(action):
    ada, colleague = AccountFactory(), staff_member()
    other = {"export": "erase", "erase": "export"}[action]
    permitted, without = (staff_member("auth.view_user", f"auth.{name}_user") for name in (action, other))

    assert signed_in(permitted).get(address_of(action, ada)).status_code == 200
    assert signed_in(permitted).get(address_of(action, colleague)).status_code == 403
    assert signed_in(without).get(address_of(action, ada)).status_code == 403


# The page of one product


@pytest.fixture
def tea():
    return ProductFactory(sku="TEA", name="Tea", on_hand=20)


def page_of_product(product) -> str:
    return reverse("product-page", args=[product.pk])


def test_the_page_shows_the_stock_and_the_open_orders_that_hold_it(operator, tea):
    ada = AccountFactory(username="ada")
    order = buy(ada, tea, 5)
    cancelled = buy(ada, tea, 2)
    client_of(ada).post(f"/orders/{cancelled}/cancel")
    buy(ada, ProductFactory(on_hand=1), 1)

    page = operator.get(page_of_product(tea))

    facts = dict(page.context["facts"])
    assert [facts[name] for name in ("On hand", "Reserved by open orders")] == ["20", "5"]
    assert [f">{text}</span>" in page.text for text in ("15 available", "5 reserved")] == [True, True]
    assert '<rect class="fc-reserved" x="900" width="300"' in page.text
    [held] = rows(page, "Open orders that hold it: 1")
    assert order in held[0] and "ada" in held[1] and held[3] == "5"


def test_the_newest_movements_are_shown_with_a_link_to_the_list_of_all(operator, tea):
    for number in range(60):
        StockMovementFactory(product=tea, on_hand_after=number)
    StockMovementFactory()
    page = operator.get(page_of_product(tea))
    assert [row[2] for row in rows(page, "Movements")] == [str(number) for number in range(59, 34, -1)]
    [section] = [one for one in page.context["sections"] if one["title"] == "Movements"]
    [address] = re.findall(r'href="([^"]+)"', section["all"])
    assert operator.get(address).context["cl"].queryset.count() == 61


def test_each_part_of_a_product_is_shown_with_the_permission_to_view_it(tea):
    def shown_to(*permissions):
        client = signed_in(staff_member(*permissions))
        page = client.get(page_of_product(tea))
        titles = [section["title"] for section in page.context["sections"]]
        return titles, [one["title"] for one in page.context["head"]["actions"]]

    view = "inventory.view_product"
    assert shown_to(view) == ([], [])
    assert shown_to(view, "inventory.view_stockmovement") == (["Movements"], [])
    assert shown_to(view, "orders.view_order") == (["Open orders that hold it: 0"], [])
    assert shown_to(view, "inventory.add_stockmovement")[1] == ["Receive or correct stock"]


@pytest.mark.parametrize("what", ["points", "stock"])
def test_a_form_that_is_sent_four_times_at_once_is_done_once(transactional_db, operator, ada, tea, what):
    address = reverse("admin:inventory_product_move_stock", args=[tea.pk])
    values = {"kind": "received", "delta": 3}
    if what == "points":
        address, values = address_of("grant-points", ada), {"amount": 1_200}
    sent = to_confirm(operator, address, reason="late delivery", **values)
    responses = race([partial(operator.post, address, sent)] * 4)
    assert [response.status_code for response in responses] == [302] * 4
    assert ledger.balance_amount(ada.pk) == (1_700 if what == "points" else 500)
    assert times_noted("stock.received") == (what == "stock")
