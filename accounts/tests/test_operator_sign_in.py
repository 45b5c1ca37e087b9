"""Signing in to the admin with one-time codes, and the page that sets them up."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from uuid_utils.compat import uuid7

from accounts.tests.one_time_codes import (
    backup_codes,
    code_for,
    code_of,
    secret_of_text,
    with_codes,
    wrong_code,
)
from foundation import clock
from foundation.models import JournalLine
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.waiting import shifted

pytestmark = pytest.mark.django_db
LOGIN, SETUP, FRONT = "/admin/login/", "/admin/one-time-codes/", "/admin/"


@pytest.fixture(autouse=True)
def _required(settings):
    settings.STAFF_OTP_REQUIRED = True


@pytest.fixture
def olga():
    return with_codes(SuperuserFactory(username="olga"))


def sign_in(client, name: str, otp="", *, password: str = PASSWORD, **more: str):
    return client.post(LOGIN, {"username": name, "password": password, "otp": otp} | more)


@pytest.fixture
def client(olga):
    """Olga's, signed in with a code."""
    client = Client()
    sign_in(client, "olga", code_for(olga))
    return client


def setting_up() -> tuple[Client, str]:
    """A superuser without codes that has given the right password, and the secret that the page shows."""
    client = Client()
    SuperuserFactory(username="bob")
    sign_in(client, "bob")
    return client, secret_on(client.get(SETUP))


def is_signed_in(client) -> bool:
    return client.get(FRONT).status_code == 200


def secret_on(page) -> str:
    shown = re.search(r"<code[^>]*>([A-Z2-7 ]+)</code>", page.text)
    assert shown
    return secret_of_text(shown[1])


@pytest.mark.parametrize("otp", ["", "wrong"])
def test_a_password_alone_or_with_a_wrong_code_does_not(olga, otp):
    client = Client()

    answer = sign_in(client, "olga", wrong_code(olga) if otp else "")

    assert answer.status_code == 200
    assert b"one-time code" in answer.content
    assert not is_signed_in(client)
    assert client.get(SETUP)["Location"] == LOGIN


def test_a_password_and_a_code_sign_in_and_after_a_backup_code_the_page_says_how_many_are_left(olga):
    client, another = Client(), Client()

    answer = sign_in(client, "olga", code_for(olga))
    sign_in(another, "olga", backup_codes(olga)[0])

    assert (answer.status_code, answer["Location"]) == (302, FRONT)
    assert is_signed_in(client)
    assert "You used a backup code; 9 are left." in another.get(FRONT).text


def test_the_first_operator_sets_codes_up_after_a_right_password():
    olga, client = SuperuserFactory(username="olga"), Client()

    answer = sign_in(client, "olga", next="/admin/coupons/campaign/")
    assert (answer.status_code, answer["Location"]) == (302, SETUP)
    assert not is_signed_in(client)
    page = client.get(SETUP)
    assert page.status_code == 200
    assert "<svg" in page.text and "no-store" in page["Cache-Control"]
    done = client.post(SETUP, {"otp": code_of(secret_on(page))})

    shown = re.findall(r"<code>([a-z2-9]{10})</code>", done.text)
    assert sorted(shown) == sorted(backup_codes(olga)) and len(shown) == 10
    assert "/admin/coupons/campaign/" in done.text
    assert "no-store" in done["Cache-Control"]
    assert is_signed_in(client)
    assert client.get(SETUP)["Location"] == LOGIN
    assert list(JournalLine.objects.order_by("id").values_list("what", "actor", "actor_name")) == [
        ("account.otp_missing", "anon", ""),
        ("account.otp_enrolled", "staff", "olga"),
        ("account.signed_in", "staff", "olga"),
    ]


def test_the_secret_stays_the_same_until_it_is_confirmed_leaves_the_session_and_a_second_one_is_refused():
    (client, secret), second = setting_up(), Client()
    sign_in(second, "bob")
    other_secret = secret_on(second.get(SETUP))

    wrong = client.post(SETUP, {"otp": "000000" if code_of(secret) != "000000" else "111111"})
    assert "wrong" in wrong.text
    assert secret_on(wrong) == secret
    assert not TOTPDevice.objects.exists()
    client.post(SETUP, {"otp": code_of(secret)})
    answer = second.post(SETUP, {"otp": code_of(other_secret)})

    assert "set up one-time codes already" in answer.text
    assert not is_signed_in(second)
    assert TOTPDevice.objects.get().key == secret
    assert not [row for row in Session.objects.all() if secret in str(row.get_decoded())]


def test_the_set_up_page_is_reached_by_a_right_password_only(client):
    staff_member(username="bob")
    AccountFactory(username="ada")
    stranger, guesser, customer = Client(), Client(), Client()
    sign_in(guesser, "bob", password="wrong")
    sign_in(customer, "ada")

    for each in (stranger, guesser, customer, client):
        for answer in (each.get(SETUP), each.post(SETUP, {"otp": "123456"}), each.put(SETUP)):
            assert (answer.status_code, answer["Location"]) == (302, LOGIN)
    assert is_signed_in(client)


def test_a_session_that_set_codes_up_lasts_as_long_as_any_other(olga):
    SuperuserFactory(username="bob")
    begun, ended, abandoned = Client(), Client(), Client()
    for client in (begun, ended, abandoned):
        sign_in(client, "bob")
    ended.post(SETUP, {"otp": code_of(secret_on(ended.get(SETUP)))})
    sign_in(abandoned, "olga", code_for(olga))

    assert begun.session.get_expiry_age() <= 600
    for client in (ended, abandoned):
        assert is_signed_in(client)
        assert client.session.get_expiry_age() == 12 * 3600
        assert client.get(SETUP)["Location"] == LOGIN


@pytest.mark.parametrize("changed", [None, {"is_active": False}, {"is_staff": False}, {"password": "other"}])
def test_a_set_up_ends_after_ten_minutes_or_with_the_accounts_rights_or_password(changed):
    client, secret = setting_up()
    User.objects.update(**changed or {})

    with clock.shifted(by=timedelta(0) if changed else timedelta(minutes=10, seconds=1)):
        answer = client.post(SETUP, {"otp": code_of(secret)})
        assert answer["Location"] == LOGIN
        assert changed or "sign in again" in client.get(LOGIN).text
    assert not TOTPDevice.objects.exists()


def test_a_session_from_before_codes_were_required_is_not_signed_in(settings):
    settings.STAFF_OTP_REQUIRED = False
    SuperuserFactory(username="bob")
    before = Client()
    sign_in(before, "bob")
    assert is_signed_in(before)

    settings.STAFF_OTP_REQUIRED = True

    assert not is_signed_in(before)
    upload = before.post("/admin/inventory/product/import/", {"file": "x"})
    assert upload.status_code == 302 and LOGIN in upload["Location"]


def test_another_session_ends_when_codes_are_set_up_or_reset(olga, client):
    TOTPDevice.objects.all().delete()
    assert not is_signed_in(client)
    with_codes(olga)
    assert not is_signed_in(client)


def test_a_superuser_alone_resets_the_codes_of_a_lost_phone_with_a_reason(olga, client):
    rights = ["auth.change_user", "auth.view_user"]
    bob = with_codes(staff_member(*rights, username="bob"))
    of_bob = Client()
    sign_in(of_bob, "bob", code_for(bob))
    refused = reverse("admin:auth_user_reset_otp", args=[olga.pk])
    answer = of_bob.post(refused, {"form_id": str(uuid7()), "reason": "mine now"})
    assert answer.status_code == 403
    assert TOTPDevice.objects.filter(user=olga).exists()
    page = reverse("admin:auth_user_change", args=[bob.pk])
    assert "Reset one-time codes" in client.get(page).text
    reset = reverse("admin:auth_user_reset_otp", args=[bob.pk])

    client.post(reset, {"form_id": str(uuid7()), "reason": "His phone fell into the harbour."})

    assert not TOTPDevice.objects.filter(user=bob).exists()
    line = journal_line("account.otp_reset")
    assert (line.actor_name, line.subject) == ("olga", f"account {bob.pk}")
    assert line.after == {"is_enrolled": False, "reason": "His phone fell into the harbour."}


def test_no_page_of_the_admin_shows_a_secret_or_a_backup_code(olga, client):
    device = TOTPDevice.objects.get()
    names = ("admin:otp_totp_totpdevice_changelist", []), ("admin:otp_totp_totpdevice_change", [device.pk])
    pages = [reverse(name, args=args) for name, args in names]

    for page in pages:
        shown = client.get(page)
        assert shown.status_code == 200 and b"olga" in shown.content
        hidden = [device.key, *backup_codes(olga)]
        assert not [secret for secret in hidden if secret in shown.text]


def test_a_session_ends_twelve_hours_after_its_last_use(client):
    session, soon = Session.objects.get(), timezone.now() + timedelta(hours=1)
    assert timedelta(0) < session.expire_date - timezone.now() <= timedelta(hours=12)
    Session.objects.update(expire_date=soon)

    assert is_signed_in(client)
    assert Session.objects.get().expire_date == soon, "what is used again at once is not written"
    with shifted(minutes=11):
        page = client.get(FRONT)
    assert page.cookies["sessionid"]["max-age"] == 12 * 3_600
    assert Session.objects.get().expire_date - timezone.now() > timedelta(hours=11)

    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert not is_signed_in(client)


def test_a_session_that_ends_itself_is_not_written_again(client):
    with shifted(minutes=11):
        assert client.post(reverse("admin:logout")).status_code in (200, 302)
        assert not is_signed_in(client)
    assert not Session.objects.filter(expire_date__gt=timezone.now()).exists()


def test_pages_of_the_admin_run_no_script_but_those_of_files_of_the_shop():
    client = Client()
    for path in (LOGIN, FRONT, "/admin/nothing/"):
        policy = dict(
            part.strip().split(" ", 1) for part in client.get(path)["Content-Security-Policy"].split(";")
        )
        assert policy["script-src"] == "'self' 'unsafe-eval'"
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'self'"
        assert policy["object-src"] == policy["frame-ancestors"] == "'none'"
