"""No page of the admin shows a link or a button whose page refuses the account that sees it."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from django.test import Client

from shop.tests import admin_addresses
from shop.tests.staff_groups import NAMES, _staff_groups, member_of
from shop.tests.test_admin_pages import _a_row_of_every_model

__all__ = ["_a_row_of_every_model", "_staff_groups"]
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("_staff_groups", "_a_row_of_every_model"),
]
# They end the session, or belong to the sign-in.
NOT_FOLLOWED = ("/admin/logout/", "/admin/login/", "/admin/one-time-codes/")
MOST_REDIRECTS = 3


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
    """The paths below /admin/ to which the page leads, without their queries."""
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
        b"".join(answer)  # An unread export would keep its place.
        location = answer.headers.get("Location", "")
        if answer.status_code not in (301, 302) or not location.startswith("/admin/"):
            break
        path = urlsplit(location).path
    return int(answer.status_code)


@pytest.mark.parametrize("group", (*NAMES, ""))
def test_no_page_leads_to_one_that_refuses_the_account(group: str) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(member_of(group))
    statuses: dict[str, int] = {}
    refused = set()
    for address in admin_addresses.addresses():
        if address.path in NOT_FOLLOWED or "/stream/" in address.path:
            continue
        page = client.get(address.path)
        content = b"".join(page)
        if page.status_code != 200 or not page.headers["Content-Type"].startswith("text/html"):
            continue
        html = content.decode()
        for link in links_of(html, address.path):
            if link not in statuses:
                statuses[link] = status_of(client, link)
            if statuses[link] == 403:
                refused.add(f"{address.written} leads to {link}")

    assert len(statuses) > (2 if group == "" else 20), "links were found"
    assert not refused, "\n".join(sorted(refused))
