"""The groups of staff: what their permissions are, on which databases, and beside operators' own groups."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from shop.tests import operators_page, staff_groups
from shop.tests.clients import signed_in
from shop.tests.confirming import confirmed
from shop.tests.factories import AccountFactory
from shop.tests.staff_groups import NAMES, member_of, permissions_of
from shop.tests.test_admin import disable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_staff_groups")]


def test_the_groups_have_the_permissions_that_the_page_for_operators_lists() -> None:
    held = {name: permissions_of(name) for name in NAMES}
    everything = sorted(set().union(*held.values()))
    for name in NAMES:
        actual = {permission: "yes" if permission in held[name] else "-" for permission in everything}
        wrong = operators_page.differences("Permissions", name, actual)
        assert not wrong, wrong


def test_no_group_holds_a_right_with_which_its_members_could_take_more() -> None:
    for name in NAMES:
        held = permissions_of(name)
        assert not [each for each in held if each.partition(".")[2].startswith("delete_")]
        assert not held & {"auth.change_user", "auth.add_user", "auth.change_group", "auth.add_group"}
        assert not [each for each in held if each.startswith(("otp_", "sessions.", "admin."))]


def test_support_disables_customers_and_changes_nothing_else_about_an_account() -> None:
    ada, colleague = AccountFactory.create(), AccountFactory.create(is_staff=True)
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
    assert ada.password not in client.get(page).content.decode()


def test_support_enables_customers_again_and_no_colleagues() -> None:
    ada, colleague = AccountFactory.create(is_active=False), AccountFactory.create(is_staff=True)
    client = signed_in(member_of("Support"))

    enabled = confirmed(client, reverse("account-enable", args=[ada.pk]), reason="It was a mistake.")
    refused = client.get(reverse("account-enable", args=[colleague.pk]))

    ada.refresh_from_db()
    assert (enabled.status_code, refused.status_code, ada.is_active) == (302, 403, True)


def test_a_group_of_an_operators_own_is_left_as_it_is() -> None:
    Group.objects.filter(name="Support").delete()
    own = Group.objects.create(name="Support")
    member = AccountFactory.create(is_staff=True)
    member.groups.add(own)

    staff_groups.create()

    assert permissions_of("Support") == set()
    assert list(own.user_set.all()) == [member]


def test_creating_the_groups_again_keeps_what_operators_changed() -> None:
    Group.objects.get(name="Viewer").permissions.clear()

    staff_groups.create()

    assert permissions_of("Viewer") == set()
    assert Group.objects.filter(name__in=NAMES).count() == len(NAMES)


@pytest.mark.django_db(transaction=True)
def test_a_flushed_database_has_the_permission_and_one_row_of_it() -> None:
    call_command("flush", interactive=False, verbosity=0)

    assert Permission.objects.filter(codename="disable_user").count() == 1
    assert connection.vendor
