"""Actions of staff: the journal has the reason of each, and none is for the own account of who acts."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import Model
from django.test import override_settings
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.api_keys import keys
from accounts.models import ApiKey
from accounts.tests import api_keys, approving
from accounts.tests.clients import Api, client_of, problem_of, signed_in
from accounts.tests.one_time_codes import with_codes
from accounts.tokens import token_pairs
from coupons import issuing
from coupons.models import Coupon, EligibleAccount
from coupons.tests.factories import CampaignFactory, coupon_of
from events.models import WebhookDelivery, WebhookEndpoint
from events.tests.delivering import dead
from events.webhooks import signatures
from foundation import clock, journal, scopes
from foundation.approval_models import Approval
from foundation.errors import NotAllowed
from foundation.journal import Actor, ActorContext
from foundation.models import JournalLine
from foundation.tests import admin_addresses, reference_tables
from foundation.tests.factories import AccountFactory, SuperuserFactory, reloaded, set_columns, staff_member
from foundation.tests.sent_forms import fields_of
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga, SagaLog
from orders.tests import buying, operating_pages, stepping
from orders.tests.buying import order_of
from orders.tests.conftest import _empty_books, _stepped_executor
from orders.tests.test_operating_admin import started
from payments import ledger, points_grants
from payments.models import Entry, Payment, Reconciliation
from payments.reconciliation import reconciling
from payments.tests import granting
from payments.tests.factories import PaymentFactory
from payments.tests.test_reconciling import late
from sales import terms
from sales.models import Sale
from sales.tests.factories import create_sale
from shop.tests.test_rights import COLUMNS, NEED_MORE, client_of as admin_client_of, right

__all__ = ["_empty_books", "_stepped_executor"]
pytestmark = pytest.mark.django_db
WHY = "As customers asked for it."
PASSWORD, NEW = "a password, which nothing asks the reason for", "a new row, which has no reason to change"
# What changes something, or is a form, and has no reason in the journal; and why not.
WITHOUT = {
    "/admin/password_change/": PASSWORD,
    "/admin/auth/user/<id>/password/": PASSWORD,
    "/admin/auth/user/add/": NEW,
    "/admin/auth/group/add/": NEW,
    "/admin/coupons/campaign/add/": NEW,
    "/admin/sales/sale/add/": NEW,
    "/admin/inventory/product/add/": NEW,
    "/admin/events/webhookendpoint/<id>/test/": "a test, which changes nothing; the line says whose it was",
    "/admin/auth/group/<id>/delete/": "a page of Django's; the line has all that the group was",
    "/admin/auth/group/ delete_selected": "likewise",
    "/admin/orders/order/<id>/note/": "its text stays with the order, to be erased with the customer",
}
Prepared = tuple[Model | None, dict[str, Any]]
Prepare = Callable[[], Prepared]


def row(make: Callable[..., Any], *, columns: dict[str, Any] | None = None, **values) -> Prepare:
    """A new row with these columns, and the values for the action's form."""
    return lambda: (make(**columns or {}), values)


def uploading(text: str) -> Prepared:
    return CampaignFactory(code_source="pool"), {"file": SimpleUploadedFile("a.csv", text.encode())}


def listing() -> Prepared:
    return CampaignFactory(), {"change": "add", "accounts": str(AccountFactory().pk)}


def paused_sale() -> Sale:
    return terms.set_paused(sale_id=create_sale().pk, is_paused=True, reason="The stage is late.")


def stuck_at_the_charge() -> Prepared:
    saga = started("tok_timeout_charged")
    with override_settings(GATEWAY_TIMEOUT_SECONDS=0.5):
        stepping.advance(saga.id)
    set_columns(saga, state=Saga.State.STUCK)
    return saga, {}


def asked_for() -> Approval:
    staff = staff_member("payments.add_transfer")
    return granting.asked_for(staff, AccountFactory())


def orphaned_charge() -> Prepared:
    key = late().charge_key
    return reconciling.reconcile(), {"key": key}


def key_of_olga() -> ApiKey:
    return reloaded(api_keys.make("orders:read", maker=User.objects.get(username="olga")).key)


def endpoint(**columns) -> WebhookEndpoint:
    given = {"url": "https://receiver.example/", "events": ["*"], "secret": signatures.new_secret()}
    return WebhookEndpoint.objects.create(**given, created_at=clock.now(), **columns)


def dead_of_an_account() -> WebhookDelivery:
    return dead(endpoint_id=endpoint().pk)


def member() -> dict[str, Any]:
    group = Group.objects.create(name="night")
    return {"username": "sam", "email": "sam@example.com", "groups": [group.pk]}


LATER = "2099-07-01T00:00:00"
SCHEDULED = {"scheduled": True, "closes_at": None}
CAMPAIGN, PRODUCT = CampaignFactory.create, ProductFactory.create
ACCOUNT = AccountFactory.create
PAUSED = {"paused_at": clock.now()}
DISABLED = {"is_active": False}
ACTIONS = {
    "/admin/accounts/<account_id>/issue-coupon/": lambda: (ACCOUNT(), {"campaign": CAMPAIGN().pk}),
    "/admin/accounts/<account_id>/grant-points/": row(ACCOUNT, amount=500),
    "/admin/accounts/<account_id>/sign-out/": row(ACCOUNT),
    "/admin/accounts/<account_id>/disable/": row(ACCOUNT),
    "/admin/accounts/<account_id>/enable/": row(ACCOUNT, columns=DISABLED),
    "/admin/board/campaigns/<pk>/pause/": row(CAMPAIGN),
    "/admin/board/campaigns/<pk>/explain/": row(CAMPAIGN, columns=PAUSED),
    "/admin/board/campaigns/<pk>/resume/": row(CAMPAIGN, columns=PAUSED),
    "/admin/board/campaigns/<pk>/quantity/": row(CAMPAIGN, quantity=1_000),
    "/admin/board/products/<pk>/pause/": row(PRODUCT),
    "/admin/board/products/<pk>/explain/": row(PRODUCT, columns=PAUSED),
    "/admin/board/products/<pk>/resume/": row(PRODUCT, columns=PAUSED),
    "/admin/board/sales/<pk>/pause/": row(create_sale),
    "/admin/board/sales/<pk>/explain/": row(paused_sale),
    "/admin/board/sales/<pk>/resume/": row(paused_sale),
    "/admin/auth/user/<id>/change/": row(ACCOUNT, email="new@example.com"),
    "/admin/auth/user/add_member/": lambda: (None, member()),
    "/admin/auth/user/<id>/reset_otp/": row(lambda: with_codes(ACCOUNT(is_staff=True))),
    "/admin/auth/user/ disable": row(ACCOUNT),
    "/admin/auth/group/<id>/change/": row(Group.objects.create, columns={"name": "stores"}, name="night"),
    "/admin/events/webhookdelivery/replay_events/": row(dead),
    "/admin/accounts/apikey/make/": row(lambda: None, name="warehouse", scopes=["orders:read"]),
    "/admin/accounts/apikey/<id>/rotate/": row(key_of_olga),
    "/admin/accounts/apikey/<id>/revoke/": row(key_of_olga),
    "/admin/shop/approval/<id>/approve/": row(asked_for),
    "/admin/shop/approval/<id>/refuse/": row(asked_for),
    "/admin/events/webhookdelivery/ resend": row(dead_of_an_account),
    "/admin/events/webhookendpoint/create/": row(lambda: None, url="https://93.184.216.34/", events=["*"]),
    "/admin/events/webhookendpoint/<id>/rotate/": lambda: (endpoint(), {}),
    "/admin/events/webhookendpoint/<id>/disable/": lambda: (endpoint(), {}),
    "/admin/events/webhookendpoint/<id>/enable/": lambda: (endpoint(disabled_at=clock.now()), {}),
    "/admin/inventory/product/<id>/change/": row(PRODUCT, price=45),
    "/admin/inventory/product/<id>/pause/": row(PRODUCT),
    "/admin/inventory/product/<id>/explain/": row(PRODUCT, columns=PAUSED),
    "/admin/inventory/product/<id>/resume/": row(PRODUCT, columns=PAUSED),
    "/admin/inventory/product/<id>/move_stock/": row(PRODUCT, kind="received", delta=5),
    "/admin/inventory/product/import/": partial(uploading, "sku,name,price,quantity\nA,B,1,1\n"),
    "/admin/inventory/product/ pause_selected": row(PRODUCT),
    "/admin/inventory/product/ resume_selected": row(PRODUCT, columns=PAUSED),
    "/admin/coupons/campaign/<id>/change/": row(CAMPAIGN, quantity=1_000),
    "/admin/coupons/campaign/<id>/pause/": row(CAMPAIGN),
    "/admin/coupons/campaign/<id>/explain/": row(CAMPAIGN, columns=PAUSED),
    "/admin/coupons/campaign/<id>/resume/": row(CAMPAIGN, columns=PAUSED),
    "/admin/coupons/campaign/<id>/schedule/": row(CAMPAIGN, columns=SCHEDULED, opens_at=LATER),
    "/admin/coupons/campaign/<id>/duplicate/": row(CAMPAIGN, opens_at=LATER),
    "/admin/coupons/campaign/<id>/raise_quantity/": row(CAMPAIGN, quantity=1_000),
    "/admin/coupons/campaign/<id>/add_codes/": row(CAMPAIGN, columns={"code_source": "pool"}, count=2),
    "/admin/coupons/campaign/<id>/upload_codes/": partial(uploading, "A1\n"),
    "/admin/coupons/campaign/<id>/list_accounts/": listing,
    "/admin/coupons/campaign/<id>/upload_accounts/": lambda: uploading(f"{ACCOUNT().pk}\n"),
    "/admin/coupons/campaign/ pause_selected": row(CAMPAIGN),
    "/admin/coupons/campaign/ resume_selected": row(CAMPAIGN, columns=PAUSED),
    "/admin/coupons/coupon/<id>/void/": row(lambda: coupon_of(CAMPAIGN())),
    "/admin/sales/sale/<id>/change/": row(create_sale, name="Second drop"),
    "/admin/sales/sale/<id>/pause/": row(create_sale),
    "/admin/sales/sale/<id>/explain/": row(paused_sale),
    "/admin/sales/sale/<id>/resume/": row(paused_sale),
    "/admin/sales/sale/ pause_selected": row(create_sale),
    "/admin/sales/sale/ resume_selected": row(paused_sale),
    "/admin/payments/payment/<id>/look_up/": row(PaymentFactory.create),
    "/admin/payments/reconciliation/compare/": row(lambda: None),
    "/admin/payments/reconciliation/<id>/fix/": orphaned_charge,
    "/admin/orders/order/<id>/refund/": row(operating_pages.paid_order, what="all", restock="on"),
    "/admin/orders/order/<id>/cancel_and_refund/": row(operating_pages.paid_order, what="all", restock="on"),
    "/admin/orders/order/<id>/cancel/": row(operating_pages.unpaid_order),
    "/admin/orders/order/<id>/resend_events/": row(operating_pages.paid_order),
    "/admin/orders/saga/<id>/retry/": row(started),
    "/admin/orders/saga/<id>/compensate/": row(started),
    "/admin/orders/saga/<id>/complete/": stuck_at_the_charge,
}


@pytest.mark.usefixtures("_a_row_of_every_model")
def test_every_form_and_action_that_changes_something_is_asked_for_its_reason_or_says_why_not():
    """The table of rights, which test_rights holds, has what groups may do, but not superusers."""
    client = admin_client_of(SuperuserFactory())
    request = client.get("/admin/").wsgi_request
    columns = [reference_tables.column("Pages", group or "no group") for group in COLUMNS]
    changing = {page for column in columns for page, may in column.items() if may == "do"} | NEED_MORE
    changing |= {
        address.written
        for address in admin_addresses.addresses()
        if address.written.startswith("/admin/auth/") and right(client, address) == "do"
    }
    changing |= {
        action.written
        for action in admin_addresses.actions()
        if action.name in action.pages.get_actions(request)
    }

    assert sorted(changing - ACTIONS.keys() - WITHOUT.keys()) == []
    assert sorted((ACTIONS.keys() | WITHOUT.keys()) - changing) == []


@pytest.mark.usefixtures("_empty_books", "_stepped_executor")
@pytest.mark.parametrize("written", ACTIONS)
def test_the_journal_has_the_reason(transactional_db, written):
    client = signed_in(SuperuserFactory(username="olga"))
    chosen, values = ACTIONS[written]()

    send(client, written, chosen, values | {"reason": WHY})

    lines = [line for line in JournalLine.objects.filter(actor="staff") if WHY in line.detail]
    assert [line.actor_name for line in lines[:1]] == ["olga"], written


def send(client, written: str, chosen: Model | None, values: dict[str, Any]):
    """What a browser sends for the action, the form as it is shown and then its confirmation; the answer."""
    address, _, list_action = written.partition(" ")
    address = re.sub(r"<\w+>", str(getattr(chosen, "pk", "")), address)
    if list_action:
        selected = {"action": list_action, "_selected_action": [getattr(chosen, "pk", None)]}
        return client.post(address, selected | {"form_id": str(uuid7())} | values)
    shown = client.get(address, {"key": values["key"]} if "key" in values else {})
    answer = client.post(address, fields_of(shown.text) | values)
    if answer.context and "hidden" in answer.context:
        return client.post(address, dict(answer.context["hidden"]) | {"confirmed": "yes"})
    return answer


# Nobody acts for their own account, by no call, page or key. What a buyer may do stays.

# No account has more or less by it: a campaign, product, sale, message or key changes, or books are read.
WITHOUT_BENEFICIARY = re.compile(
    "/(board|products|inventory|sales|auth|journalline|apikey|webhook(delivery|endpoint))/|/campaign/(?!.*_accounts/)"
    "|/(sign-out|disable|enable|look_up|compare|resend_events|refuse)/"
)


@pytest.fixture
def ada():
    """An operator with every right, and a wallet."""
    account: User = SuperuserFactory(username="ada")
    ledger.open_wallet(account.pk)
    return account


def paid_order(account: User) -> Order:
    return buying.buy(account, product())


def product() -> Product:
    return ProductFactory(on_hand=5, price=500)


# The path and the body of each act for an account.
ACTS = {
    "grant": lambda to: ("/wallet/grants", {"user": to.pk, "amount": 1, "reason": "me"}),
    "refund": lambda to: (f"/orders/{paid_order(to).pk}/refunds", {"reason": "me", "restock": False}),
    "issue": lambda to: ("/coupons", {"campaign": CAMPAIGN().pk, "user": to.pk}),
    "void": lambda to: (f"/coupons/{buying.coupon_code(to)}/void", {"reason": "me"}),
    "list": lambda to: (
        f"/campaigns/{CAMPAIGN(eligible='listed').pk}/eligible-accounts",
        {"users": [buying.account().pk, to.pk]},
    ),
}


def with_an_old_token(ada: User) -> Api:
    set_columns(ada, is_staff=False)
    old = Api(access=token_pairs.create_access_token(reloaded(ada)))
    set_columns(ada, is_staff=True)
    return old


def with_a_key(ada: User) -> Api:
    return Api(access=keys.create(maker_id=ada.pk, name="own", wanted_scopes=scopes.ALL).secret)


@pytest.mark.parametrize("signed_in_as", [client_of, with_an_old_token, with_a_key])
@pytest.mark.parametrize("act", ACTS)
def test_an_act_of_staff_for_the_own_account_is_refused(act, signed_in_as, ada):
    answer = signed_in_as(ada).post(*ACTS[act](ada), key="one")
    # A coupon is refused by the token alone, which is no member of staff's.
    is_customers = (act, signed_in_as) == ("issue", with_an_old_token)
    code = "permission_denied" if is_customers else "own_account"
    assert problem_of(answer) == (403, code), answer.content
    assert ledger.balance_amount(ada.pk) == 0
    assert not Refund.objects.exists() and not EligibleAccount.objects.exists()
    assert set(Coupon.objects.values_list("status", flat=True)) <= {"issued"}
    assert Coupon.objects.count() == (1 if act == "void" else 0)


def test_others_are_still_acted_for(ada):
    other, api = buying.account(), client_of(ada)
    for act, status in {"grant": 201, "refund": 202, "issue": 201, "void": 200}.items():
        assert api.post(*ACTS[act](other), key=act).status_code == status


def test_what_a_buyer_may_do_takes_no_right_of_staff_and_the_own_page_has_no_button_for_more(ada):
    page = signed_in(ada).get(reverse("account-page", args=[ada.pk])).text
    assert not [name for name in ("grant-points", "issue-coupon") if f"{ada.pk}/{name}/" in page]
    api, campaign = client_of(ada), CampaignFactory()
    assert api.post("/coupons", {"campaign": campaign.pk}).status_code == 201
    placed = api.post("/orders", order_of(product()), key="one").json()
    assert api.post(f"/orders/{placed['id']}/cancel").json()["status"] == "cancelled"
    assert paid_order(ada).status == "paid"


@pytest.mark.usefixtures("_empty_books", "_stepped_executor")
@pytest.mark.parametrize("written", [page for page in ACTIONS if not WITHOUT_BENEFICIARY.search(page)])
def test_every_action_of_the_admin_for_the_own_account_is_refused(transactional_db, written, ada):
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
    assert "would be for your own account" in " ".join([answer.text, *map(str, messages)])
    assert rows() == before


def rows() -> list[list[dict[str, Any]]]:
    models = (Entry, Coupon, EligibleAccount, Order, Payment, Refund, Saga, SagaLog, Approval, Reconciliation)
    return [list(model.objects.order_by("pk").values()) for model in models]


def test_commands_run_without_an_account_and_are_not_refused_as_a_request_without_one_is(ada):
    coupon, order = buying.coupon_of(ada), paid_order(ada)
    asked = {"user_id": buying.account().pk, "amount": 1, "reason": "me"}
    asked |= {"keyed": approving.keyed(ada, "one")}
    acts = [
        lambda: points_grants.grant(**asked),
        lambda: buying.refund(order),
        lambda: issuing.void(code=coupon.code, reason="me"),
    ]
    with journal.acting(journal.unidentified("a-request")):
        for act in acts:
            with pytest.raises(NotAllowed, match="signed in"):
                act()
    with journal.acting(ActorContext(actor=Actor.STAFF, name="ada")):
        buying.refund(order)
    assert Refund.objects.count() == 1
