"""Nobody uses a right of staff for their own account, by no call, page or key. What a buyer may do stays."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from coupons import issued_coupons
from coupons.models import Coupon
from coupons.restriction_models import EligibleAccount
from coupons.tests.factories import CampaignFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga
from orders.saga import operator_actions
from orders.tests import buying, stepping
from payments import ledger, points_grants
from scripts.stack import ports
from shop.accounts import tokens
from shop.api_keys import keys
from shop.errors import NotAllowed
from shop.events import journal
from shop.events.journal import Actor, ActorContext
from shop.tests.clients import Api, client_of
from shop.tests.confirming import confirmed
from shop.tests.factories import SuperuserFactory
from shop.tests.test_approvals import as_operator, keyed

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    """An operator with every right, and a wallet."""
    account: User = SuperuserFactory.create(username="ada")
    ledger.open_wallet(account.pk)
    return account


def paid_order(account: User) -> Order:
    return buying.advance(buying.place(account.pk, {product(): 1}, token="tok_ok"))


def product() -> Product:
    made: Product = ProductFactory.create(on_hand=5, price=500)
    return made


def assert_refused(answer: Any) -> None:
    assert (answer.status_code, answer.json()["code"]) == (403, "own_account"), answer.content


def grant(api: Api, ada: User) -> Any:
    return api.post("/wallet/grants", {"user": ada.pk, "amount": 1, "reason": "me"}, key="one")


def refund(api: Api, ada: User) -> Any:
    body = {"reason": "me", "restock": False}
    return api.post(f"/orders/{paid_order(ada).pk}/refunds", body, key="two")


def issue(api: Api, ada: User) -> Any:
    return api.post("/coupons", {"campaign": CampaignFactory.create().pk, "user": ada.pk})


def void(api: Api, ada: User) -> Any:
    return api.post(f"/coupons/{buying.coupon_of(ada.pk).code}/void", {"reason": "me"})


def list_eligible(api: Api, ada: User) -> Any:
    other = buying.account().pk
    campaign = CampaignFactory.create(eligible="listed")
    return api.post(f"/campaigns/{campaign.pk}/eligible-accounts", {"users": [other, ada.pk]})


@pytest.mark.parametrize("act", [grant, refund, issue, void, list_eligible])
def test_an_act_of_staff_for_the_own_account_is_refused(act: Callable[[Api, User], Any], ada: User) -> None:
    assert_refused(act(client_of(ada), ada))
    assert ledger.balance_amount(ada.pk) == 0
    assert not Refund.objects.exists() and not EligibleAccount.objects.exists()
    assert set(Coupon.objects.values_list("status", flat=True)) <= {"issued"}
    assert Coupon.objects.count() == (1 if act is void else 0)


@pytest.mark.parametrize("act", [grant, refund, issue, void, list_eligible])
def test_so_is_it_with_a_token_from_before_the_account_became_staff(
    act: Callable[[Api, User], Any], ada: User
) -> None:
    User.objects.filter(pk=ada.pk).update(is_staff=False)
    old = Api(access=tokens.create_access_token(User.objects.get(pk=ada.pk)))
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    assert_refused(act(old, ada))


def test_so_is_it_by_an_api_key_of_the_account(ada: User) -> None:
    new = keys.create(
        maker_id=ada.pk, name="own", wanted_scopes=["wallet:write"], expires_at=None, reason="a try"
    )
    assert_refused(grant(Api(access=new.secret), ada))


def test_others_are_still_acted_for(ada: User) -> None:
    other, api = buying.account(), client_of(ada)
    assert grant(api, other).status_code == 201
    assert refund(api, other).status_code == 202
    assert issue(api, other).status_code == 201
    assert void(api, other).status_code == 200


def test_what_a_buyer_may_do_takes_no_right_of_staff(ada: User) -> None:
    api, campaign = client_of(ada), CampaignFactory.create()
    assert api.post("/coupons", {"campaign": campaign.pk}).status_code == 201
    placed = api.post("/orders", {"items": [{"product": product().pk, "quantity": 1}]}, key="one").json()
    assert api.post(f"/orders/{placed['id']}/cancel").json()["status"] == "cancelled"
    assert paid_order(ada).status == "paid"


@pytest.mark.parametrize(
    ("page", "values"),
    [
        ("account-grant-points", {"amount": 5, "reason": "me"}),
        ("account-issue-coupon", {"campaign": 0, "reason": "me"}),
    ],
)
def test_the_own_account_page_refuses_it_and_has_no_button_for_it(
    page: str, values: dict[str, Any], ada: User
) -> None:
    if "campaign" in values:
        values = values | {"campaign": CampaignFactory.create().pk}
    client = Client()
    client.force_login(ada)
    address = reverse(page, args=[ada.pk])

    shown = confirmed(client, address, **values)

    assert "This would be for your own account" in shown.content.decode()
    assert (ledger.balance_amount(ada.pk), Coupon.objects.count()) == (0, 0)
    assert address not in client.get(reverse("account-page", args=[ada.pk])).content.decode()


def test_the_pages_of_the_own_order_and_coupon_refuse_it(ada: User) -> None:
    client, coupon = Client(), Coupon.objects.get(code=buying.coupon_of(ada.pk).code)
    unpaid = Order.objects.get(id=buying.place(ada.pk, {product(): 1}).order.id)
    client.force_login(ada)
    for address in (
        reverse("admin:orders_order_cancel", args=[unpaid.pk]),
        reverse("admin:coupons_coupon_void", args=[coupon.pk]),
    ):
        sent = client.post(address, {"_form_submitted": "1", "reason": "me"})
        [*_, message] = client.get(sent.headers["HX-Redirect"], follow=True).context["messages"]
        assert str(message).startswith("This would be for your own account")
    refunding = client.get(reverse("admin:orders_order_refund", args=[paid_order(ada).pk]))
    assert "This would be for your own account" in refunding.content.decode()
    unpaid.refresh_from_db()
    assert (unpaid.status, Coupon.objects.get().status) == ("awaiting_payment", "issued")


def saga_of(ada: User) -> UUID:
    placed = buying.place(ada.pk, {product(): 1}, token="tok_ok")
    assert placed.started
    return placed.started.saga.id


def test_nobody_compensates_or_completes_their_own_payment(ada: User, settings: Any) -> None:
    wanted: dict[str, Any] = {"saga_id": saga_of(ada), "reason": "me"}
    wanted["by"] = ActorContext(actor=Actor.STAFF, id=ada.pk, name="ada")
    assert as_operator(ada, lambda: operator_actions.force_compensate(**wanted)) == "own_account"
    assert stepping.advance(wanted["saga_id"]) == "done"
    settings.DATA_PLATFORM_URL, address = f"http://{ports.HOST}:{ports.free()}", settings.DATA_PLATFORM_URL
    wanted["saga_id"] = saga_of(ada)
    stepping.advance(wanted["saga_id"])
    Saga.objects.filter(id=wanted["saga_id"]).update(state="stuck")
    assert as_operator(ada, lambda: operator_actions.force_complete(**wanted)) == "own_account"
    settings.DATA_PLATFORM_URL = address
    assert stepping.advance(wanted["saga_id"]) == "done"


def test_commands_run_without_an_account_and_are_not_refused_as_a_request_without_one_is(ada: User) -> None:
    coupon, order = buying.coupon_of(ada.pk), paid_order(ada)
    asked = {"user_id": buying.account().pk, "amount": 1, "reason": "me", "keyed": keyed(ada, "one")}
    acts: list[Callable[[], Any]] = [
        lambda: points_grants.grant(**asked),
        lambda: buying.refund(order.pk),
        lambda: issued_coupons.void(code=coupon.code, reason="me"),
    ]
    with journal.acting(journal.unidentified("a-request")):
        for act in acts:
            with pytest.raises(NotAllowed, match="signed in"):
                act()
    with journal.acting(ActorContext(actor=Actor.STAFF, name="ada")):
        buying.refund(order.pk)
    assert Refund.objects.count() == 1
