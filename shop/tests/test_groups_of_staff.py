"""The groups of staff: their rights, which come from the database, and what those see who lack one."""

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.tests.clients import signed_in
from accounts.tokens import authentication, token_pairs
from coupons.tests.factories import CampaignFactory
from foundation.errors import NotAllowed
from foundation.http import permissions
from foundation.tests import reference_tables, staff_groups
from foundation.tests.confirming import confirmed
from foundation.tests.factories import AccountFactory, set_columns, staff_member
from foundation.tests.staff_groups import NAMES, member_of, permissions_of
from shop.tests.test_admin import disable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_staff_groups")]


def test_the_groups_have_the_permissions_that_the_page_of_rights_lists():
    held = {name: permissions_of(name) for name in NAMES}
    everything = sorted(set().union(*held.values()))
    for name in NAMES:
        actual = {permission: "yes" if permission in held[name] else "-" for permission in everything}
        wrong = reference_tables.differences("Permissions", name, actual)
        assert not wrong, wrong


def test_no_group_holds_a_right_with_which_its_members_could_take_more():
    for name in NAMES:
        held = permissions_of(name)
        assert not [each for each in held if each.partition(".")[2].startswith("delete_")]
        assert not held & {"auth.change_user", "auth.add_user", "auth.change_group", "auth.add_group"}
        assert not [each for each in held if each.startswith(("otp_", "sessions.", "admin."))]


def test_support_disables_and_enables_customers_and_changes_nothing_else_about_an_account():
    ada, colleague = AccountFactory(), staff_member()
    client = signed_in(member_of("Support"))
    page = reverse("admin:auth_user_change", args=[ada.pk])

    disable(client, ada, colleague, reason="Stolen cards.")
    changed = client.post(page, {"username": "gone", "email": "mine@example.com"})
    password = client.post(
        reverse("admin:auth_user_password_change", args=[ada.pk]), {"password1": "x", "password2": "x"}
    )

    ada.refresh_from_db()
    colleague.refresh_from_db()
    assert not ada.is_active and colleague.is_active
    assert (changed.status_code, password.status_code) == (403, 403)
    assert ada.password not in client.get(page).text

    enabled = confirmed(client, reverse("account-enable", args=[ada.pk]), reason="It was a mistake.")
    refused = client.get(reverse("account-enable", args=[colleague.pk]))

    ada.refresh_from_db()
    assert (enabled.status_code, refused.status_code, ada.is_active) == (302, 403, True)


def test_creating_the_groups_again_keeps_what_operators_changed_and_groups_of_their_own():
    Group.objects.filter(name="Support").delete()
    own = Group.objects.create(name="Support")
    member = staff_member()
    member.groups.add(own)
    Group.objects.get(name="Viewer").permissions.clear()

    staff_groups.create()

    assert permissions_of("Support") == permissions_of("Viewer") == set()
    assert list(own.user_set.all()) == [member]
    assert Group.objects.filter(name__in=NAMES).count() == len(NAMES)


def test_a_flushed_database_has_the_permission_and_one_row_of_it(transactional_db):
    call_command("flush", interactive=False, verbosity=0)

    assert Permission.objects.filter(codename="disable_user").count() == 1


PERMISSION = "coupons.change_campaign"


def request_of(user):
    return SimpleNamespace(user=authentication.verify_access_token(token_pairs.create_access_token(user)))


def is_refused(request) -> bool:
    with pytest.raises(NotAllowed):
        permissions.require_staff_permission(request, PERMISSION)
    return not permissions.has_staff_permission(request, PERMISSION)


@pytest.mark.parametrize(
    "rights",
    [
        {"is_staff": True},
        {"is_staff": True, "permissions": ["coupons.view_campaign"]},
        {"is_staff": False, "permissions": [PERMISSION]},
        {"is_staff": True, "is_active": False, "permissions": [PERMISSION]},
        {"is_superuser": True},
    ],
)
def test_other_accounts_may_not(rights):
    assert is_refused(request_of(AccountFactory(**rights)))


def test_a_token_that_still_claims_staff_is_not_believed():
    user = staff_member(PERMISSION)
    request = request_of(user)
    set_columns(user, is_staff=False)

    assert request.user.is_staff
    assert is_refused(request)


def test_checking_an_ordinary_account_for_staff_takes_no_query():
    request = request_of(AccountFactory())

    with CaptureQueriesContext(connection) as queries:
        assert not permissions.has_staff_permission(request, PERMISSION)

    assert queries.captured_queries == []


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
NAVIGATION = "/admin/board/"


def test_a_refused_page_names_the_missing_rights_alone_and_the_groups_that_have_them_and_staff_have_links():
    campaign = f"/admin/campaigns/{CampaignFactory().pk}/"
    groups = "Members of these groups have it: Finance, Operations, Support."
    for group, path, status, shown, hidden in (
        ("Viewer", "/admin/payments/payment/", 403, {"payments.view_payment", groups, NAVIGATION}, ""),
        ("Support", "/admin/orders/order/export/", 403, {"shop.export_list"}, "orders.view_order"),
        ("", campaign, 403, set(), "rights"),
        ("Viewer", "/admin/orders/nothing/", 404, {NAVIGATION}, ""),
        (None, "/nothing", 404, set(), NAVIGATION),
        (None, "/demo/nothing", 404, set(), NAVIGATION),
    ):
        client = Client() if group is None else signed_in(member_of(group))
        answer = client.get(path, headers={"Accept": BROWSER})
        page = answer.text
        assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8"), path
        assert [text for text in shown if text not in page] == [] and not (hidden and hidden in page), path


def test_programs_and_the_scripts_of_pages_get_problems():
    for accept in ("application/json", "*/*", ""):
        for path, status in (("/admin/payments/payment/", 403), ("/nothing", 404)):
            answer = signed_in(member_of("Viewer")).get(path, headers={"Accept": accept})
            assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    answer = Client().get("/api/v1/nothing", headers={"Accept": BROWSER})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
