"""Access tokens: no call costs a query, and those of disabled or signed-out accounts are refused soon."""

import threading
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from accounts.api_keys import keys
from accounts.models import SignOut
from accounts.tests.api_keys import KeyApi, make
from accounts.tests.clients import Api, client_of, new_customer, signed_in
from accounts.tokens import authentication, disabled_accounts, sign_outs, token_pairs
from accounts.tokens.disabled_accounts import MAX_AGE_SECONDS, REFRESH_AFTER_SECONDS
from accounts.tokens.token_pairs import TokenPair
from foundation import clock, journal
from foundation.account import TokenInvalid
from foundation.concurrency.event_loop import run_blocking
from foundation.db.transactions import DatabaseUnavailable
from foundation.errors import NotFound
from foundation.journal import Actor, ActorContext
from foundation.tests import process_state
from foundation.tests.factories import AccountFactory, SuperuserFactory, reloaded, set_columns
from foundation.tests.instants import ago
from foundation.tests.journal_lines import journal_line, journal_lines
from foundation.tests.outages import database_away
from foundation.tests.racing import race, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.urls("lab.urls")]
"""The null call is the simplest one that requires an account."""
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def sign_out(account: User) -> SignOut:
    return sign_outs.sign_out_everywhere(account_id=account.pk, reason="The phone was stolen.")


def is_signed_in(access: str) -> bool:
    answer = Api(access=access).get("/users/me")
    assert answer.status_code == 200 or answer.json()["code"] == "token_invalid"
    return bool(answer.status_code == 200)


def test_tokens_of_all_sign_ins_are_refused_and_the_account_may_sign_in_again(transactional_db):
    account, other = AccountFactory(), AccountFactory()
    *pairs, used = [token_pairs.create_token_pair(account) for _ in range(3)]
    rotated, untouched = token_pairs.rotate(used.refresh), token_pairs.create_token_pair(other)
    assert is_signed_in(pairs[0].access)

    sign_out(account)

    for pair in [*pairs, rotated]:
        with pytest.raises(TokenInvalid):
            token_pairs.rotate(pair.refresh)
    wait_until(lambda: not is_signed_in(pairs[0].access), seconds=5)
    assert not any(is_signed_in(pair.access) for pair in [*pairs, rotated])
    assert is_signed_in(untouched.access) and token_pairs.rotate(untouched.refresh)
    assert reloaded(account).is_active
    with clock.shifted(by=SECOND):
        later = token_pairs.create_token_pair(account)
        assert is_signed_in(later.access) and token_pairs.rotate(later.refresh)


def test_the_keys_that_the_account_made_are_revoked_and_those_of_others_stay(transactional_db):
    account, other = SuperuserFactory(), SuperuserFactory()
    own = [make("orders:read", maker=account) for _ in range(2)]
    former, of_another = KeyApi(own[0].secret), KeyApi(make("orders:read", maker=other).secret)
    rotated = keys.rotate(key_id=own[1].key.pk, account_id=account.pk)
    assert former.get("/orders").status_code == of_another.get("/orders").status_code == 200

    sign_out(account)

    for secret in (own[0].secret, own[1].secret, rotated.secret):
        wait_until(lambda: KeyApi(secret).get("/orders").status_code == 401, seconds=2)  # noqa: B023
    assert of_another.get("/orders").status_code == 200
    assert set(keys.unrevoked().values_list("maker_id", flat=True)) == {other.pk}
    lines = journal_lines("api_key.revoked")
    told = [(f"api key {new.key.pk}", "The phone was stolen.") for new in own]
    assert [(line.subject, line.detail) for line in lines] == told
    assert journal_line("account.signed_out_everywhere").after["api_keys_revoked"] == 2
    keys.create(maker_id=account.pk, name="new", wanted_scopes=["orders:read"])


def test_sessions_of_the_account_end_and_the_journal_has_their_number_the_operator_and_the_reason():
    account, other = SuperuserFactory(), SuperuserFactory()
    of_account, of_other = [signed_in(account), signed_in(account)], signed_in(other)
    with journal.acting(ActorContext(Actor.STAFF, 7, "olga")):
        done = sign_out(account)
        with pytest.raises(NotFound):
            sign_outs.sign_out_everywhere(account_id=2**30, reason="A mistake.")

    line = journal_line("account.signed_out_everywhere")
    assert (line.subject, line.actor_name, line.is_internal) == (f"account {account.pk}", "olga", True)
    assert line.detail == "The phone was stolen."
    assert line.after == {"signed_out_at": done.at.isoformat(), "sessions_ended": 2, "api_keys_revoked": 0}
    assert sign_outs.last_sign_out(account.pk) == done
    assert [client.get("/admin/").status_code for client in of_account] == [302, 302]
    assert of_other.get("/admin/").status_code == 200
    assert Session.objects.count() == 1


def test_signing_out_again_refuses_what_was_issued_since_and_a_token_without_the_number_of_a_sign_out():
    account, other = AccountFactory(), AccountFactory()
    sign_out(account)
    assert is_signed_in(token_pairs.create_token_pair(account).access), "also in the second of the sign-out"
    with clock.shifted(by=SECOND):
        refresh = token_pairs.create_token_pair(account).refresh
        sign_out(account)
        with pytest.raises(TokenInvalid):
            token_pairs.rotate(refresh)
    assert SignOut.objects.count() == 1
    with clock.shifted(by=HOUR):
        assert not is_signed_in(token_pairs.create_access_token(account))
        assert is_signed_in(token_pairs.create_access_token(other))


def test_after_a_sign_out_by_a_clock_that_was_ahead_new_tokens_are_accepted_and_old_ones_never():
    """It locked the account out until the corrected clock had come to the sign-out's instant."""
    account = AccountFactory()
    with clock.shifted(by=HOUR):
        before = token_pairs.create_token_pair(account)
        sign_out(account)

    since = token_pairs.create_token_pair(account)

    assert is_signed_in(since.access)
    assert not is_signed_in(before.access)
    for shift in (timedelta(0), HOUR, 2 * HOUR):
        with clock.shifted(by=shift), pytest.raises(TokenInvalid):
            token_pairs.rotate(before.refresh)
    with clock.shifted(by=2 * HOUR):
        assert is_signed_in(token_pairs.rotate(since.refresh).access)


def test_a_correction_of_the_clock_brings_no_token_back_that_a_sign_out_refused():
    """The token's time of issue, and the first sign-out, are later than the second sign-out."""
    account = AccountFactory()
    with clock.shifted(by=HOUR):
        first = token_pairs.create_token_pair(account).refresh
        before = sign_out(account).at
        second = token_pairs.create_token_pair(account).refresh

    assert sign_out(account).at > before

    for shift in (timedelta(0), 2 * HOUR):
        with clock.shifted(by=shift):
            for refresh in (first, second):
                with pytest.raises(TokenInvalid):
                    token_pairs.rotate(refresh)


def test_a_concurrent_refresh_leaves_no_token_that_is_accepted(transactional_db):
    for account in AccountFactory.create_batch(10):
        refresh = token_pairs.create_token_pair(account).refresh
        rotated, _ = race([partial(token_pairs.rotate, refresh), partial(sign_out, account)])
        assert isinstance(rotated, TokenPair | TokenInvalid)
        if isinstance(rotated, TokenPair):
            with pytest.raises(TokenInvalid):
                token_pairs.rotate(rotated.refresh)


def _sign_out_while(refresh):
    """Run `refresh` while a sign-out has the account's row locked, and commits a second later in its time."""
    account = AccountFactory()
    token = token_pairs.create_token_pair(account).refresh
    is_locked, has_read = threading.Event(), threading.Event()

    def sign_out_slowly():
        with transaction.atomic():
            User.objects.select_for_update().get(pk=account.pk)
            is_locked.set()
            has_read.wait(1)
            SignOut(account=account, at=clock.now()).save()

    def refresh_meanwhile():
        is_locked.wait(10)
        return refresh(token, has_read)

    return race([sign_out_slowly, refresh_meanwhile])


def test_a_refresh_waits_for_a_sign_out_and_is_refused(transactional_db):
    _, outcome = _sign_out_while(lambda token, _: token_pairs.rotate(token))
    assert isinstance(outcome, TokenInvalid)


def test_a_refresh_that_locks_nothing_is_accepted_after_it(transactional_db):
    """The control case: the token is checked before the sign-out, and its successor is issued after it."""

    def rotate_naively(raw, has_read):
        claims = authentication.verified_claims_of("refresh", raw)
        user = User.objects.get(pk=authentication.account_id_of(claims))
        assert token_pairs._is_still_valid(claims, user)
        has_read.set()
        wait_until(SignOut.objects.exists)
        with clock.shifted(by=SECOND):
            return token_pairs.create_token_pair(user)

    _, outcome = _sign_out_while(rotate_naively)
    with clock.shifted(by=SECOND * 2):
        assert isinstance(token_pairs.rotate(outcome.refresh), TokenPair)


def test_recent_sign_outs_and_disabled_accounts_are_found_by_an_index():
    for account in AccountFactory.create_batch(200):
        SignOut(account=account, at=ago(days=30)).save()
    AccountFactory(is_active=False)
    recent = SignOut.objects.filter(at__gte=clock.now() - disabled_accounts.SIGN_OUTS_READ)
    disabled = User.objects.filter(is_active=False).values_list("pk", flat=True)
    assert "accounts_signout_at" in recent.explain() and "accounts_user_disabled" in disabled.explain()


def test_an_old_sign_out_is_not_kept_in_memory_and_still_refuses_refreshing():
    account = AccountFactory()
    refresh = token_pairs.create_token_pair(account).refresh
    sign_out(account)
    with clock.shifted(by=disabled_accounts.SIGN_OUTS_READ + SECOND):
        assert account.pk not in disabled_accounts.CACHED.get().signed_out
        with pytest.raises(TokenInvalid):
            token_pairs.rotate(refresh)


def status(api) -> int:
    return int(api.post("/lab/null", {"campaign": 1}).status_code)


def is_disabled(account: User) -> bool:
    return account.pk in disabled_accounts.CACHED.get().ids


def test_a_request_is_authenticated_without_a_query_also_that_of_an_account_that_was_signed_out():
    api, account = new_customer(), AccountFactory()
    sign_out(account)
    access = token_pairs.create_access_token(account)
    disabled_accounts.CACHED.forget()
    assert status(api) == 200

    with CaptureQueriesContext(connection) as queries:
        assert status(api) == 200
        with pytest.raises(TokenInvalid):
            run_blocking(authentication.find_account(f"Bearer {access}"))

    assert queries.captured_queries == []


NO_TOKEN = (None, "", "Basic YWRhOmFkYQ==", "Token abc")
BAD_TOKENS = ("Bearer", "Bearer ", "Bearer x", "bearer x.y.z", "Bearer \xe9", "Bearer a b")


@pytest.mark.parametrize("header", [*NO_TOKEN, *BAD_TOKENS])
def test_a_bad_token_gets_another_code_than_none(header):
    headers = {} if header is None else {"Authorization": header}

    refused = client_of().post("/lab/null", {"campaign": 1}, **headers)

    assert refused.status_code == 401
    assert refused.json()["code"] == ("not_authenticated" if header in NO_TOKEN else "token_invalid")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_a_refresh_token_or_one_of_a_deleted_account_authenticates_no_call():
    account = AccountFactory()
    pair = token_pairs.create_token_pair(account)
    assert not is_signed_in(pair.refresh)
    assert client_of().get("/users/me", Authorization=f"bEaReR  {pair.access}").status_code == 200

    User.objects.filter(pk=account.pk).delete()

    assert not is_signed_in(pair.access)


def test_a_disabled_account_is_refused_within_five_seconds(transactional_db):
    account, other = AccountFactory(), AccountFactory()
    api = client_of(account)
    assert status(api) == 200
    set_columns(account, is_active=False)

    wait_until(lambda: status(api) == 401, seconds=5)

    assert api.get("/users/me").json()["code"] == "token_invalid"
    assert status(client_of(other)) == 200


def test_without_the_database_the_cached_set_is_used_for_four_seconds(transactional_db):
    account = AccountFactory(is_active=False)
    assert is_disabled(account)

    with database_away():
        process_state.age(disabled_accounts.CACHED, REFRESH_AFTER_SECONDS)
        assert is_disabled(account)
        process_state.age(disabled_accounts.CACHED, MAX_AGE_SECONDS)
        with pytest.raises(DatabaseUnavailable):
            is_disabled(account)
    assert is_disabled(account)


def test_an_outage_is_logged_once_and_not_once_per_request(transactional_db):
    account = AccountFactory()

    def fail(times):
        with database_away():
            for _ in range(times):
                with pytest.raises(DatabaseUnavailable):
                    is_disabled(account)

    with capture_logs() as logged:
        disabled_accounts.CACHED.forget()
        fail(20)
        is_disabled(account)
        disabled_accounts.CACHED.forget()
        fail(20)
    levels = [line["log_level"] for line in logged if "disabled accounts" in line["event"]]
    assert levels == ["warning", "info", "warning"]


def test_many_threads_that_find_the_set_too_old_wait_for_one_reader(transactional_db):
    account = AccountFactory(is_active=False)
    is_disabled(account)
    process_state.age(disabled_accounts.CACHED, MAX_AGE_SECONDS)
    reads = []

    def counted(execute, sql, params, many, context):
        if "auth_user" in sql:
            reads.append(sql)
        return execute(sql, params, many, context)  # type: ignore[operator]

    def looked_up():
        with connection.execute_wrapper(counted):
            return is_disabled(account)

    assert race([looked_up] * 16) == [True] * 16
    assert len(reads) == 1
