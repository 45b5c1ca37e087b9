"""What each group of staff may do: every address and action of the admin, and every call of staff."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client

from shop.http.pages.streamed_responses import StreamedResponse
from shop.models import JournalLine
from shop.tests import admin_addresses, operators_page
from shop.tests.admin_addresses import Action, Address
from shop.tests.factories import AccountFactory
from shop.tests.staff_groups import NAMES, _staff_groups, member_of
from shop.tests.test_admin_pages import _a_row_of_every_model

__all__ = ["_a_row_of_every_model", "_staff_groups"]
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("_staff_groups", "_a_row_of_every_model"),
]
COLUMNS = (*NAMES, "")
REFUSED = (400, 401, 403, 404, 405)
LOGIN, FRONT = "/admin/login/", "/admin/"
# What a client without staff's rights reaches: the page to sign in, and what answers with the way to it.
OPEN = {LOGIN, "/admin/logout/", "/admin/one-time-codes/"}
# They refuse a request that names nothing of theirs, whatever its rights: test_admin_uploads and
# test_admin_reconciliations ask them.
NEED_MORE = {
    "/admin/coupons/campaign/<campaign_id>/upload_accounts/add/",
    "/admin/coupons/campaign/<campaign_id>/upload_codes/add/",
    "/admin/payments/reconciliation/<id>/fix/",
}
# What the board's buttons send.
BUTTON_FIELDS = {"reason": "A test of rights.", "quantity": "1000000"}
# What the admin's pages read from an address, none of which may open one.
TRICKS = "_popup=1&_to_field=id&_changelist_filters=q%3D1&e=1&action=disable&select_across=1"


class StatusClient(Client):
    """A client that reads no response made in parts, and releases the slot of each at once.

    It doesn't close them: that ends the request, and Django then closes the test's connection.
    """

    def request(self, **request: Any) -> Any:
        answer = super().request(**request)
        if isinstance(answer, StreamedResponse):
            answer.release_slot()
        return answer


def client_of(account: User | None) -> Client:
    client = StatusClient(raise_request_exception=False)
    if account:
        client.force_login(account)
    return client


def is_refused(answer: Any) -> bool:
    """Whether the answer shows and does nothing of the page: an error, or the way to another page."""
    location = answer.headers.get("Location", "")
    leads_away = answer.status_code == 302 and (location.startswith(LOGIN) or location == FRONT)
    return answer.status_code in REFUSED or leads_away


def right(client: Client, address: Address) -> str:
    """`-` if every method is refused, `see` if it shows and changes nothing, and `do` otherwise."""
    path, shown = address.path, client.get(address.path)
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


def _action_right(client: Client, action: Action) -> str:
    request: HttpRequest = client.get(FRONT).wsgi_request
    if not is_refused(client.get(action.path)) and action.name in action.pages.get_actions(request):
        return "do"
    before = JournalLine.objects.count()
    chosen = [str(admin_addresses.first_row(action.pages.model).pk)]
    client.post(action.path, {"action": action.name, "_selected_action": chosen})
    return "-" if JournalLine.objects.count() == before else "did it without the right"


@pytest.mark.parametrize("group", COLUMNS)
def test_every_page_is_open_to_the_groups_that_the_table_says(group: str) -> None:
    client = client_of(member_of(group))
    actual = {
        address.written: right(client, address)
        for address in admin_addresses.addresses()
        if address.written not in OPEN | NEED_MORE
    }

    wrong = operators_page.differences("Pages", group or "no group", actual)

    assert not wrong, wrong


@pytest.mark.parametrize("group", COLUMNS)
def test_every_action_on_a_list_is_offered_to_the_groups_that_the_table_says(group: str) -> None:
    client = client_of(member_of(group))
    actual = {action.written: _action_right(client, action) for action in admin_addresses.actions()}

    wrong = operators_page.differences("Actions on lists", group or "no group", actual)

    assert not wrong, wrong


@pytest.mark.parametrize("is_signed_in", [False, True])
def test_other_accounts_and_strangers_are_led_to_the_page_to_sign_in(is_signed_in: bool) -> None:
    client = client_of(AccountFactory.create() if is_signed_in else None)
    for address in admin_addresses.addresses():
        if address.written in OPEN:
            continue
        for method in ("get", "post", "put", "delete"):
            answer = getattr(client, method)(address.path)
            assert is_refused(answer), (method, address)
