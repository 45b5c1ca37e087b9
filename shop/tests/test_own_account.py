"""Nobody uses a right of staff for their own account, by no call, page or key. What a buyer may do stays."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from accounts.api_keys import keys
from accounts.tokens import tokens
from coupons import issued_coupons
from coupons.models import Coupon, EligibleAccount
from coupons.tests.factories import CampaignFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga, SagaLog
from orders.tests import buying
from orders.tests.conftest import _empty_books, _stepped_executor
from payments import ledger, points_grants
from payments.models import Entry, Payment, Reconciliation
from shop.approval_models import Approval
from shop.errors import NotAllowed
from shop.journal import journal
from shop.journal.journal import Actor, ActorContext
from shop.tests.clients import Api, client_of, signed_in
from shop.tests.factories import SuperuserFactory
from shop.tests.test_approvals import keyed
from shop.tests.test_reasons import ACTIONS, WHY, send

__all__ = ["_empty_books", "_stepped_executor"]
pytestmark = pytest.mark.django_db
# No account has more or less by it: a campaign, product, sale, message or key changes, or books are read.
WITHOUT_BENEFICIARY = re.compile(
    "/(board|products|inventory|sales|auth|journalline|apikey|webhookdelivery)/|/campaign/(?!.*_accounts/)"
    "|/(sign-out|disable|enable|look_up|compare|resend_events|refuse)/"
)


@pytest.fixture
def ada() -> User:
    """An operator with every right, and a wallet."""
    account: User = SuperuserFactory.create(username="ada")
    ledger.open_wallet(account.pk)
    return account


def paid_order(account: User) -> Order:
    return buying.advance(buying.place(account.pk, {product(): 1}, token="tok_ok"))


def product() -> Product:
    return ProductFactory.create(on_hand=5, price=500)


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


def with_an_old_token(ada: User) -> Api:
    User.objects.filter(pk=ada.pk).update(is_staff=False)
    old = Api(access=tokens.create_access_token(User.objects.get(pk=ada.pk)))
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    return old


@pytest.mark.parametrize("signed_in_as", [client_of, with_an_old_token])
@pytest.mark.parametrize("act", [grant, refund, issue, void, list_eligible])
def test_an_act_of_staff_for_the_own_account_is_refused(act: Any, signed_in_as: Any, ada: User) -> None:
    assert_refused(act(signed_in_as(ada), ada))
    assert ledger.balance_amount(ada.pk) == 0
    assert not Refund.objects.exists() and not EligibleAccount.objects.exists()
    assert set(Coupon.objects.values_list("status", flat=True)) <= {"issued"}
    assert Coupon.objects.count() == (1 if act is void else 0)


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


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_empty_books", "_stepped_executor")
@pytest.mark.parametrize("written", [page for page in ACTIONS if not WITHOUT_BENEFICIARY.search(page)])
def test_every_action_of_the_admin_for_the_own_account_is_refused(written: str, ada: User) -> None:
    chosen, values = ACTIONS[written]()
    for model in (Order, Payment, Coupon, Approval):
        model.objects.update(account_id=ada.pk)
    if written.startswith("/admin/accounts/"):
        chosen = ada
    if "accounts" in values:
        values["accounts"] = str(ada.pk)
    if "file" in values:
        values["file"] = SimpleUploadedFile("a.csv", str(ada.pk).encode())
    before = rows()

    answer = send(signed_in(ada), written, chosen, values | {"reason": WHY})

    messages = answer.client.get("/admin/").context["messages"]
    assert "would be for your own account" in " ".join([answer.content.decode(), *map(str, messages)])
    assert rows() == before


def rows() -> list[list[dict[str, Any]]]:
    models = (Entry, Coupon, EligibleAccount, Order, Payment, Refund, Saga, SagaLog, Approval, Reconciliation)
    return [list(model.objects.order_by("pk").values()) for model in models]


def test_the_own_account_page_has_no_button_to_give_oneself_something(ada: User) -> None:
    page = signed_in(ada).get(reverse("account-page", args=[ada.pk])).content.decode()
    assert not [name for name in ("grant-points", "issue-coupon") if f"{ada.pk}/{name}/" in page]


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
