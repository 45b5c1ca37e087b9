"""An operator gives programs and colleagues their access, in few clicks, each time from /admin/."""

import pytest
from django.contrib.auth.models import User

from accounts.models import ApiKey
from accounts.tests.api_keys import KeyApi
from accounts.tests.one_time_codes import code_of, secret_of_text
from events.models import BUILT_IN, WebhookEndpoint
from events.tests.receivers import receiving
from foundation.tests.factories import SuperuserFactory
from foundation.tests.staff_groups import _staff_groups
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect

__all__ = ["_staff_groups"]
COUNT_PRESSES = """
    addEventListener("pointerdown", event => {
        if (event.isTrusted) sessionStorage.presses = Number(sessionStorage.presses || 0) + 1;
    }, true);
"""
CLIPBOARD = ["clipboard-read", "clipboard-write"]


@pytest.fixture
def admin(open_page, stack, _staff_groups):
    """The home page of a superuser, which counts what is pressed from now on."""
    page = open_page("", account=SuperuserFactory(username="olga"), permissions=CLIPBOARD)
    page.add_init_script(COUNT_PRESSES)
    page.goto("/admin/")
    return page


def presses(page) -> int:
    return int(page.evaluate("sessionStorage.presses || 0"))


def copied_secret(page) -> str:
    """What *Copy* of the page with a secret copies, which is what the page shows."""
    page.get_by_role("button", name="Copy the secret").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied: str = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#secret").inner_text()
    return copied


def test_an_api_key_takes_four_clicks_and_its_secret_is_copied(admin):
    admin.get_by_role("link", name="Engine room").first.click()
    admin.get_by_role("link", name="Make a key").click()
    expect(admin.get_by_label("Name")).to_be_focused()
    assert accessibility.findings_in_both_themes_and_on_a_phone(admin) == []
    admin.set_viewport_size({"width": 1366, "height": 900})
    admin.keyboard.type("warehouse")
    admin.get_by_label("See products and their stock.").check()
    admin.get_by_role("button", name="Make the key").click()
    expect(admin.locator("#secret")).to_be_visible()

    assert presses(admin) <= 4
    assert KeyApi(copied_secret(admin)).get("/products").status_code == 200
    assert ApiKey.objects.get().scopes == ["products:read"]
    assert accessibility.findings_in_both_themes_and_on_a_phone(admin) == []


def test_an_endpoint_takes_four_clicks_and_is_tested_rotated_disabled_and_enabled(admin):
    with receiving() as receiver:
        admin.get_by_role("link", name="Engine room").first.click()
        admin.get_by_role("link", name="Add an endpoint").click()
        expect(admin.get_by_label("Address")).to_be_focused()
        assert accessibility.findings_in_both_themes_and_on_a_phone(admin) == []
        admin.set_viewport_size({"width": 1366, "height": 900})
        admin.keyboard.type(receiver.url)
        admin.get_by_label("Orders: placed").check()
        admin.get_by_role("button", name="Add the endpoint").click()
        expect(admin.locator("#secret")).to_be_visible()
        assert presses(admin) <= 4
        assert copied_secret(admin).startswith("whsec_")

        admin.get_by_role("link", name="I have saved it").click()
        admin.get_by_role("link", name="127.0.0.1").click()
        for status, said in ((204, "It works: the program answered 204."), (500, "the answer was 500.")):
            receiver.answer = lambda request, status=status: status
            admin.get_by_role("link", name="Send a test").click()
            admin.get_by_role("button", name="Send the test").click()
            expect(admin.get_by_text(said)).to_be_visible()
        assert {one.body["type"] for one in receiver.requests} == {"webhook.test"}

        former = WebhookEndpoint.objects.exclude(pk=BUILT_IN).get().secret
        admin.get_by_role("link", name="New secret").click()
        admin.get_by_label("Reason").fill("A laptop was lost.")
        admin.get_by_role("button", name="Make a new secret").click()
        assert copied_secret(admin) not in ("", former)
        admin.get_by_role("link", name="I have saved it").click()
        for act, state in (("Disable", "disabled"), ("Enable", "active")):
            admin.get_by_role("link", name=act).click()
            admin.get_by_label("Reason").fill("The warehouse moves.")
            admin.get_by_role("button", name=act, exact=True).click()
            expect(admin.get_by_text("The endpoint was changed: 127.0.0.1.")).to_be_visible()
            expect(admin.get_by_text(state, exact=True)).to_be_visible()
        assert accessibility.findings_in_both_themes_and_on_a_phone(admin) == []


def test_a_member_takes_four_clicks_and_sets_up_one_time_codes_at_the_first_sign_in(admin, open_page):
    admin.get_by_role("link", name="Members").first.click()
    admin.get_by_role("link", name="Add a member").click()
    expect(admin.locator("#id_username")).to_be_focused()
    assert accessibility.findings_in_both_themes_and_on_a_phone(admin) == []
    admin.set_viewport_size({"width": 1366, "height": 900})
    admin.keyboard.type("sam")
    admin.keyboard.press("Tab")
    admin.keyboard.type("sam@example.com")
    admin.get_by_label("Support").check()
    admin.get_by_role("button", name="Add the member").click()
    expect(admin.locator("#secret")).to_be_visible()
    assert presses(admin) <= 4
    password = copied_secret(admin)
    sam = User.objects.get(username="sam")
    assert [*sam.groups.values_list("name", flat=True)] == ["Support"]

    own = open_page("/admin/")
    own.locator("#id_username").fill("sam")
    own.locator("#id_password").fill(password)
    own.locator("#login-form [type=submit]").click()
    own.locator("#id_otp").fill(code_of(secret_of_text(own.locator("ol code").inner_text())))
    own.locator("#otp-form [type=submit]").click()
    expect(own.get_by_text("Backup codes").first).to_be_visible()
