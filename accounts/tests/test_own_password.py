"""Changing one's own password: who knows it may, and the account's other sign-ins end."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.models import SignOut
from accounts.tests.api_keys import KeyApi, make
from accounts.tests.clients import Api, client_of, faults, problem_of, signed_in
from accounts.tokens import disabled_accounts, passwords, sign_outs, token_pairs
from accounts.tokens.token_pairs import TokenPair
from foundation import clock
from foundation.account import TokenInvalid
from foundation.errors import Invalid
from foundation.models import JournalLine
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race, wait_until

pytestmark = pytest.mark.django_db
NEW = "another-harbour-8"


def change(pair: TokenPair, *, current: str = PASSWORD, new: str = NEW):
    return Api(access=pair.access).post("/users/me/password", {"current": current, "new": new})


def sign_in(account: User, password: str) -> int:
    body = {"username": account.username, "password": password}
    return int(client_of().post("/auth/token", body).status_code)


def is_signed_in(pair: TokenPair) -> bool:
    disabled_accounts.CACHED.forget()
    return bool(Api(access=pair.access).get("/users/me").status_code == 200)


def refreshed(pair: TokenPair) -> TokenPair | None:
    try:
        return token_pairs.rotate(pair.refresh)
    except TokenInvalid:
        return None


def test_the_new_password_signs_in_and_other_sign_ins_end_but_the_callers():
    account = SuperuserFactory()
    own, other = token_pairs.create_token_pair(account), token_pairs.create_token_pair(account)
    page = signed_in(account)

    answer = change(own)

    assert (answer.status_code, answer.content) == (204, b"")
    assert (is_signed_in(own), is_signed_in(other)) == (True, False)
    assert refreshed(other) is None
    following = refreshed(own)
    assert following and is_signed_in(following) and refreshed(following)
    assert page.get("/admin/").status_code == 302
    assert (sign_in(account, PASSWORD), sign_in(account, NEW)) == (401, 200)
    account.refresh_from_db()
    assert account.check_password(NEW)
    line = journal_line("account.password_changed")
    assert (line.subject, line.actor_id, line.after) == (
        f"account {account.pk}",
        account.pk,
        {"address": "127.0.0.1"},
    )


def test_an_access_token_of_another_sign_in_is_refused_within_five_seconds(transactional_db):
    account = AccountFactory()
    own, other = token_pairs.create_token_pair(account), token_pairs.create_token_pair(account)
    assert change(own).status_code == 204

    wait_until(lambda: Api(access=other.access).get("/users/me").status_code == 401, seconds=5)

    assert Api(access=own.access).get("/users/me").status_code == 200


def of_another_sign_in(account: User, pair: TokenPair):
    account.refresh_from_db()
    later = token_pairs.create_token_pair(account)
    assert change(later, current=NEW, new="a-third-harbour-9").status_code == 204


def sign_out_everywhere(account: User, pair: TokenPair):
    sign_outs.sign_out_everywhere(account_id=account.pk, reason="The phone was stolen.")


def sign_out_as_the_release_before(account: User, pair: TokenPair):
    SignOut.objects.filter(pk=account.pk).update(at=clock.now())


def set_by_staff(account: User, pair: TokenPair):
    account.set_password("set-by-staff-1")
    account.save()


@pytest.mark.parametrize(
    ("end", "is_access_good"),
    [
        (of_another_sign_in, False),
        (sign_out_everywhere, False),
        (sign_out_as_the_release_before, False),
        # An access token knows no password.
        (set_by_staff, True),
    ],
)
def test_the_sign_in_that_a_change_kept_ends_like_any_other(end, is_access_good):
    account = AccountFactory()
    kept = token_pairs.create_token_pair(account)
    assert change(kept).status_code == 204
    with clock.shifted(by=timedelta(seconds=1)):
        end(account, kept)

    assert (is_signed_in(kept), refreshed(kept)) == (is_access_good, None)


def test_an_access_token_that_names_no_sign_in_ends_with_all_of_them():
    account = AccountFactory()
    bare = TokenPair(token_pairs.create_access_token(account), token_pairs.create_token_pair(account).refresh)
    assert change(bare).status_code == 204

    assert (is_signed_in(bare), refreshed(bare)) == (False, None)


def test_what_is_wrong_is_named_and_changes_nothing():
    account = AccountFactory(username="harbour-customer")
    pair, other = token_pairs.create_token_pair(account), token_pairs.create_token_pair(account)

    assert faults(change(pair, current="wrong")) == [("current", "wrong")]
    assert faults(change(pair, new="1234567")) == [
        ("new", "password_too_short"),
        ("new", "password_too_common"),
        ("new", "password_entirely_numeric"),
    ]
    assert faults(change(pair, new=account.username)) == [("new", "password_too_similar")]

    before = account.password
    account.refresh_from_db()
    assert account.password == before and not SignOut.objects.exists()
    assert is_signed_in(other) and refreshed(other)
    [failed] = JournalLine.objects.filter(subject=f"account {account.pk}")
    assert (failed.what, failed.actor_id) == ("account.old_password_wrong", account.pk)


def test_guesses_of_the_password_count_as_attempts_to_sign_in():
    account = AccountFactory()
    pair = token_pairs.create_token_pair(account)
    assert [sign_in(account, "wrong") for _ in range(5)] == [401] * 5
    assert [change(pair, current="wrong").status_code for _ in range(6)] == [400] * 5 + [429]
    assert sign_in(account, PASSWORD) == 429


def test_an_api_key_changes_no_password():
    key = KeyApi(make("act", "orders:write").secret)
    answer = key.post("/users/me/password", {"current": PASSWORD, "new": NEW})
    assert problem_of(answer) == (403, "permission_denied")


def change_at_once(account: User) -> list[Any]:
    def to(new):
        own = User.objects.get(pk=account.pk)
        return lambda: passwords.change(
            account=own, current=PASSWORD, new=new, address="192.0.2.1", family=""
        )

    return race([to(f"harbour-{number}-of-two") for number in range(2)])


def test_of_two_changes_at_once_by_the_same_password_one_succeeds(transactional_db):
    outcomes = change_at_once(AccountFactory())
    assert sorted(isinstance(outcome, Invalid) for outcome in outcomes) == [False, True]
    assert times_noted("account.password_changed") == 1


def test_without_the_second_look_under_the_lock_both_succeed(transactional_db, monkeypatch):
    account = AccountFactory()

    def lock(account_id):
        locked = User.objects.select_for_update().get(pk=account_id)
        locked.password = account.password
        return locked

    monkeypatch.setattr(passwords.accounts, "lock", lock)
    assert change_at_once(account) == [None, None]
