"""What each group of staff may do: every address, action and link of the admin, and every call of the API."""

import logging
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urljoin, urlsplit

import lxml.html
import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import FileResponse, HttpRequest
from django.template.backends.django import Template
from django.test import Client

from accounts.signing_in import second_factor
from accounts.tests import clients
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from events.feed.reading import READ_EVENTS
from events.models import WebhookDelivery
from foundation.models import JournalLine
from foundation.tests import admin_addresses, openapi_document, reference_tables
from foundation.tests.factories import AccountFactory
from foundation.tests.rolled_back import rolled_back
from foundation.tests.staff_groups import NAMES, member_of
from inventory.tests.factories import ProductFactory
from orders.models import Order
from payments.models import Payment
from shop.tests import test_access_matrix
from shop.tests.test_access_matrix import owners

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_staff_groups", "_a_row_of_every_model")]
__all__ = ["owners"]
COLUMNS = (*NAMES, "")
REFUSED = (400, 401, 403, 404, 405)
LOGIN, FRONT = "/admin/login/", "/admin/"
# What a client without staff's rights reaches: the page to sign in, and what answers with the way to it.
# No link there is followed: they end the session, or belong to the sign-in.
OPEN = {"/admin/language/", LOGIN, "/admin/logout/", "/admin/one-time-codes/"}
# It refuses a request that names nothing of its, whatever its rights: test_reconciling.py asks it.
NEED_MORE = {"/admin/payments/reconciliation/<id>/fix/"}
LINKS = ("href", "action", "formaction", "hx-get", "hx-post", "data-url")
MOST_REDIRECTS = 3
# What the board's buttons send.
BUTTON_FIELDS = {"reason": "A test of rights.", "quantity": "1000000"}
# What the admin's pages read from an address, none of which may open one.
TRICKS = "_popup=1&_to_field=id&_changelist_filters=q%3D1&e=1&action=disable&select_across=1"


class StatusClient(Client):
    """A client that reads each file to its end, which frees the place of a large response."""

    def request(self, **request):
        answer = super().request(**request)
        if isinstance(answer, FileResponse):
            list(answer)
        return answer


def client_of(account: User | None) -> Client:
    client = StatusClient(raise_request_exception=False)
    if account:
        client.force_login(account)
    return client


def is_refused(answer) -> bool:
    location = answer.headers.get("Location", "")
    leads_away = answer.status_code == 302 and (location.startswith(LOGIN) or location == FRONT)
    return answer.status_code in REFUSED or leads_away


def right(client, address, shown=None) -> str:
    """`-` if every method is refused, `see` if it shows and changes nothing, and `do` otherwise.

    `shown` is the answer to a GET of the address, if there is one.
    """
    path, shown = address.path, shown or client.get(address.path)
    if shown.status_code == 405 and not is_refused(client.post(path, BUTTON_FIELDS)):
        return "do"
    if is_refused(shown):
        calls = {
            "POST": client.post(f"{path}?{TRICKS}", {}),
            "GET with a query": client.get(f"{path}?{TRICKS}"),
            "PUT": client.put(path),
            "DELETE": client.delete(path),
        }
        opened = [call for call, answer in calls.items() if not is_refused(answer)]
        return f"opened by {opened}" if opened else "-"
    if not admin_addresses.is_form(address) or is_refused(client.post(path, {})):
        return "see"
    return "do"


def action_rights(client) -> dict[str, str]:
    """Of each action on a list: `do` if its list offers it, and `-` if it is refused."""
    request: HttpRequest = client.get(FRONT).wsgi_request
    seen = {action.path: not is_refused(client.get(action.path)) for action in admin_addresses.actions()}
    found = {}
    for action in admin_addresses.actions():
        if seen[action.path] and action.name in action.pages.get_actions(request):
            found[action.written] = "do"
            continue
        before = JournalLine.objects.count()
        chosen = [str(admin_addresses.first_row(action.pages.model).pk)]
        client.post(action.path, {"action": action.name, "_selected_action": chosen})
        is_undone = JournalLine.objects.count() == before
        found[action.written] = "-" if is_undone else "did it without the right"
    return found


def links_of(html: str, page: str) -> set[str]:
    """The addresses in the admin to which a page's links, forms and buttons lead."""
    elements = lxml.html.document_fromstring(html or "<p>").xpath("//*[not(self::link)]")
    links = {element.get(name) for element in elements for name in LINKS} - {None, ""}
    paths = {urlsplit(urljoin(f"http://testserver{page}", link)) for link in links}
    return {
        found.path
        for found in paths
        if found.netloc == "testserver" and re.match("/admin/", found.path) and found.path not in OPEN
    }


def status_of(client, path: str) -> int:
    """The status of the page, after the redirects within the admin."""
    for _ in range(MOST_REDIRECTS):
        answer = client.get(path)
        location = answer.headers.get("Location", "")
        if answer.status_code not in (301, 302) or not location.startswith("/admin/"):
            break
        path = urlsplit(location).path
    return int(answer.status_code)


@contextmanager
def unrendered():
    """Without templates, which take most of a page's time: what refuses is the view."""
    with mock.patch.object(Template, "render", lambda *_: ""):
        yield


@pytest.fixture(autouse=True)
def _unlogged_refusals(monkeypatch):
    """The log has each refusal with its traceback, which takes longer than the refusal."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.ERROR)


@pytest.mark.parametrize("group", COLUMNS)
def test_every_page_and_action_is_open_to_the_groups_that_the_tables_say_and_no_link_is_refused(
    group, monkeypatch
):
    account = member_of(group)
    client = client_of(account)
    # A request asks for the session, its account, device and rights, which takes most of a refusal's time.
    monkeypatch.setattr(second_factor, "signed_in_user", lambda user, session: account)
    # And for the frame of a page, with the links of the navigation, which depend on the account alone.
    frame = admin.site.each_context(client.get(FRONT).wsgi_request)
    monkeypatch.setattr(admin.site, "each_context", lambda request: {**frame})
    rights, statuses, leading_pages = {}, {}, {}
    for address in admin_addresses.addresses():
        if address.written in OPEN | NEED_MORE:
            continue
        shown = client.get(address.path)
        statuses[address.path] = shown.status_code
        if shown.status_code == 200 and shown.headers["Content-Type"].startswith("text/html"):
            links = links_of(b"".join(shown).decode(), address.path)
            leading_pages |= dict.fromkeys(links, address.written)
        with unrendered():
            rights[address.written] = right(client, address, shown)
    with unrendered():
        actions = action_rights(client)
        followed = {
            link: statuses[link] if statuses.get(link, 302) not in (301, 302) else status_of(client, link)
            for link in leading_pages
        }

    name = group or "no group"
    wrong = [
        reference_tables.differences("Pages", name, rights),
        reference_tables.differences("Actions on lists", name, actions),
        *(f"{leading_pages[link]} leads to {link}" for link, status in followed.items() if status == 403),
    ]
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert len(followed) > (2 if group == "" else 20), "links were found"


def test_other_accounts_and_strangers_are_led_to_the_page_to_sign_in():
    closed = [address for address in admin_addresses.addresses() if address.written not in OPEN]
    opened = []
    for account in (AccountFactory(), None):
        client = client_of(account)
        opened += [
            (account, method, address)
            for address in closed
            for method in ("get", "post", "put", "delete")
            if not is_refused(getattr(client, method)(address.path))
        ]
    assert opened == []


ROOT = Path(__file__).resolve().parents[2]
HEADING = "Calls of the API"
PERMISSION = re.compile(
    r'"((?:accounts|auth|coupons|events|inventory|orders|payments|sales|shop)\.[a-z]+_[a-z]+)"'
)
# By the API: every call of staff, and every call that shows staff more


@dataclass(frozen=True)
class Call:
    """A call. It is allowed if its answer contains `shown`, or without that, if it is not refused."""

    path: str
    body: Any = None
    shown: str = ""


# Of calls that would take an empty one.
BODIES = {
    "PATCH /campaigns/{id}": {"quantity": "many"},
    "PATCH /sales/{id}": {"rate_per_minute": "many"},
    "PATCH /products/{id}": {"price": "free"},
    "PATCH /orders/{id}": {"metadata": "none"},
    "POST /orders/{id}/refunds": {"items": "all"},
    "POST /api-keys/{id}/rotate": {"all": True},
    "PATCH /webhook-endpoints/{id}": {"enabled": "yes"},
}


@pytest.fixture
def calls(owners):
    """Every row of the table, about rows of other accounts, with bodies that change nothing."""
    closed = CampaignFactory(opens_at="2020-01-01T00:00:00Z", closes_at="2020-01-02T00:00:00Z")
    inactive, other = ProductFactory(is_active=False), AccountFactory()
    order, coupon, payment = Order.objects.get(), Coupon.objects.get(), Payment.objects.get()
    delivery = WebhookDelivery.objects.get()
    resend = f"/webhook-endpoints/{delivery.endpoint_id}/deliveries/{delivery.pk}/resend"
    special = {
        "GET /campaigns": Call("/campaigns", shown=f'"id":{closed.pk},'),
        "GET /campaigns/{id}": Call(f"/campaigns/{closed.pk}"),
        "GET /coupons": Call("/coupons", shown=f'"code":"{coupon.code}"'),
        "POST /coupons": Call("/coupons", {"campaign": "none", "user": other.pk}),
        "GET /products": Call("/products", shown=f'"id":{inactive.pk},'),
        "GET /products/{id}": Call(f"/products/{inactive.pk}"),
        "GET /orders": Call("/orders", shown=f'"id":"{order.pk}"'),
        "GET /payments": Call("/payments", shown=f'"id":"{payment.pk}"'),
        "POST /webhook-endpoints/{id}/deliveries/{id}/resend": Call(resend, {}),
    }
    written, found = reference_tables.column(HEADING, "permission"), {}
    for name, method, _ in test_access_matrix.calls():
        row = re.sub(r"{\w+_id}", "{id}", name)
        body = None if method in ("get", "delete") else BODIES.get(row, {})
        if row in written:
            found[row] = special.get(row) or Call(test_access_matrix.concrete(name, owners)[0], body)
    assert len(found) == 54, "a call has no row any more, or one more has"
    # The last, for it may delete what the others are about.
    last = "DELETE /webhook-endpoints/{id}"
    found[last] = found.pop(last)
    return found


def is_allowed(api, name: str, call) -> bool:
    method = name.partition(" ")[0].lower()
    key = "" if method == "get" else f"{name} {id(api)}"
    answer = api._call(method.upper(), call.path, call.body, key, {})
    assert answer.status_code < 500, (name, answer.content)
    if call.shown:
        return call.shown in answer.text.replace(" ", "")
    return answer.status_code not in (403, 404) or answer.json()["code"] not in (
        "permission_denied",
        "not_found",
        "campaign_not_found",
        "product_not_found",
    )


def test_every_call_is_open_to_the_groups_that_the_table_says(calls):
    wrong = []
    for group in (*NAMES, ""):
        allowed = allowed_calls(member_of(group), calls)
        actual = {name: "yes" if name in allowed else "-" for name in calls}
        wrong.append(reference_tables.differences(HEADING, group or "no group", actual))
    assert not any(wrong), "\n".join(wrong)


def test_customers_are_refused_all_of_them_whatever_the_groups_of_their_account(calls):
    was_staff = member_of("Operations")
    was_staff.is_staff = False
    was_staff.save()

    allowed = {account: allowed_calls(account, calls) for account in (AccountFactory(), was_staff)}

    assert not any(allowed.values()), allowed


def allowed_calls(account: User, calls: Mapping[str, Call]) -> list[str]:
    with rolled_back():
        api = clients.client_of(account)
        return [name for name, call in calls.items() if is_allowed(api, name, call)]


def test_every_call_of_staff_in_the_contract_and_every_permission_that_the_api_asks_for_has_a_row():
    paths = openapi_document.read()["paths"]
    of_staff = {
        f"{method.upper()} {re.sub(r'{[a-z]+_id}', '{id}', path.removeprefix('/api/v1'))}"
        for path, methods in paths.items()
        for method, call in methods.items()
        if isinstance(call, dict) and "permission_denied" in str(call.get("responses", {}).get("403"))
    }

    missing = of_staff - reference_tables.column(HEADING, "permission").keys()

    assert not missing, f"docs/reference/rights.md, {HEADING}, and `calls` in this module: {missing}"
    asked = {READ_EVENTS}
    own = ("events/api.py", "accounts/api.py", "accounts/api_keys/api.py")
    apps = ("coupons/api.py", "inventory/api.py", "orders/api.py", "payments/api.py", "sales/api.py")
    for module in (*apps, *own):
        asked |= set(PERMISSION.findall((ROOT / module).read_text()))

    assert asked == set(reference_tables.column(HEADING, "permission").values())
