"""What each group of staff may do: every address and action of the admin, and where its links lead."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from unittest import mock
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import FileResponse, HttpRequest
from django.template.backends.django import Template
from django.test import Client

from accounts.signing_in import second_factor
from shop.models import JournalLine
from shop.tests import admin_addresses, operators_page
from shop.tests.admin_addresses import Action, Address
from shop.tests.factories import AccountFactory
from shop.tests.staff_groups import NAMES, member_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_staff_groups", "_a_row_of_every_model")]
COLUMNS = (*NAMES, "")
REFUSED = (400, 401, 403, 404, 405)
LOGIN, FRONT = "/admin/login/", "/admin/"
# What a client without staff's rights reaches: the page to sign in, and what answers with the way to it.
OPEN = {LOGIN, "/admin/logout/", "/admin/one-time-codes/"}
# It refuses a request that names nothing of its, whatever its rights: test_reconciling.py asks it.
NEED_MORE = {"/admin/payments/reconciliation/<id>/fix/"}
# They end the session, or belong to the sign-in.
NOT_FOLLOWED = {LOGIN, "/admin/logout/", "/admin/one-time-codes/"}
MOST_REDIRECTS = 3
# What the board's buttons send.
BUTTON_FIELDS = {"reason": "A test of rights.", "quantity": "1000000"}
# What the admin's pages read from an address, none of which may open one.
TRICKS = "_popup=1&_to_field=id&_changelist_filters=q%3D1&e=1&action=disable&select_across=1"


class StatusClient(Client):
    """A client that reads each file to its end, which frees the place of a large response."""

    def request(self, **request: Any) -> Any:
        answer = super().request(**request)
        if isinstance(answer, FileResponse):
            list(answer)
        return answer


def client_of(account: User | None) -> Client:
    client = StatusClient(raise_request_exception=False)
    if account:
        client.force_login(account)
    return client


def is_refused(answer: Any) -> bool:
    location = answer.headers.get("Location", "")
    leads_away = answer.status_code == 302 and (location.startswith(LOGIN) or location == FRONT)
    return answer.status_code in REFUSED or leads_away


def right(client: Client, address: Address, shown: Any = None) -> str:
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


def action_rights(client: Client) -> dict[str, str]:
    """Of each action on a list: `do` if its list offers it, and `-` if it is refused."""
    request: HttpRequest = client.get(FRONT).wsgi_request
    seen = {action.path: not is_refused(client.get(action.path)) for action in admin_addresses.actions()}
    return {
        action.written: _action_right(client, request, action, is_seen=seen[action.path])
        for action in admin_addresses.actions()
    }


def _action_right(client: Client, request: HttpRequest, action: Action, *, is_seen: bool) -> str:
    if is_seen and action.name in action.pages.get_actions(request):
        return "do"
    before = JournalLine.objects.count()
    chosen = [str(admin_addresses.first_row(action.pages.model).pk)]
    client.post(action.path, {"action": action.name, "_selected_action": chosen})
    return "-" if JournalLine.objects.count() == before else "did it without the right"


class Links(HTMLParser):
    """The addresses to which a page's links, forms and buttons lead."""

    ATTRIBUTES = ("href", "action", "formaction", "hx-get", "hx-post", "data-url")

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "link":
            self.found |= {value for name, value in attrs if name in self.ATTRIBUTES and value}


def links_of(html: str, page: str) -> set[str]:
    parser = Links()
    parser.feed(html)
    paths = {urlsplit(urljoin(f"http://testserver{page}", link)) for link in parser.found}
    return {
        found.path
        for found in paths
        if found.netloc == "testserver" and re.match("/admin/", found.path) and found.path not in NOT_FOLLOWED
    }


def status_of(client: Client, path: str) -> int:
    """The status of the page, after the redirects within the admin."""
    for _ in range(MOST_REDIRECTS):
        answer = client.get(path)
        location = answer.headers.get("Location", "")
        if answer.status_code not in (301, 302) or not location.startswith("/admin/"):
            break
        path = urlsplit(location).path
    return int(answer.status_code)


@contextmanager
def unrendered() -> Iterator[None]:
    """Without templates, which take most of a page's time: what refuses is the view."""
    with mock.patch.object(Template, "render", lambda *_: ""):
        yield


@pytest.fixture(autouse=True)
def _unlogged_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has each refusal with its traceback, which takes longer than the refusal."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.ERROR)


@pytest.mark.parametrize("group", COLUMNS)
def test_every_page_and_action_is_open_to_the_groups_that_the_tables_say_and_no_link_is_refused(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        operators_page.differences("Pages", name, rights),
        operators_page.differences("Actions on lists", name, actions),
        *(f"{leading_pages[link]} leads to {link}" for link, status in followed.items() if status == 403),
    ]
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert len(followed) > (2 if group == "" else 20), "links were found"


def test_other_accounts_and_strangers_are_led_to_the_page_to_sign_in() -> None:
    closed = [address for address in admin_addresses.addresses() if address.written not in OPEN]
    opened = []
    for account in (AccountFactory.create(), None):
        client = client_of(account)
        opened += [
            (account, method, address)
            for address in closed
            for method in ("get", "post", "put", "delete")
            if not is_refused(getattr(client, method)(address.path))
        ]
    assert opened == []
