"""Bearer tokens over HTTP: no query, and refused within seconds after the account is disabled."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from accounts.tokens import disabled_accounts, tokens
from accounts.tokens.disabled_accounts import MAX_AGE_SECONDS, REFRESH_AFTER_SECONDS
from shop.db.transactions import DatabaseUnavailable
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory
from shop.tests.outages import database_away
from shop.tests.racing import race, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.urls("lab.urls")]
"""The null call is the simplest one that requires an account."""


def status(api: Api) -> int:
    return int(api.post("/lab/null", {"campaign": 1}).status_code)


def is_disabled(account: User) -> bool:
    return account.pk in disabled_accounts.CACHED.get().ids


def grow_older(seconds: float) -> None:
    """Age the cached set of disabled accounts by so many seconds."""
    last = disabled_accounts.CACHED._last
    assert last
    older = last._replace(began_at=last.began_at - seconds, is_due_at=last.is_due_at - seconds)
    disabled_accounts.CACHED._last = older


def test_a_request_is_authenticated_without_a_query():
    api = client_of(AccountFactory())
    assert status(api) == 200

    with CaptureQueriesContext(connection) as queries:
        assert status(api) == 200

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


def test_a_refresh_token_authenticates_no_call():
    refused = Api(access=tokens.create_token_pair(AccountFactory()).refresh).get("/users/me")

    assert refused.json()["code"] == "token_invalid"


def test_the_scheme_is_case_insensitive():
    access = tokens.create_access_token(AccountFactory())

    assert client_of().get("/users/me", Authorization=f"bEaReR  {access}").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_disabled_account_is_refused_within_five_seconds():
    account, other = AccountFactory(), AccountFactory()
    api = client_of(account)
    assert status(api) == 200
    User.objects.filter(pk=account.pk).update(is_active=False)

    wait_until(lambda: status(api) == 401, seconds=5)

    assert api.get("/users/me").json()["code"] == "token_invalid"
    assert status(client_of(other)) == 200


@pytest.mark.django_db(transaction=True)
def test_without_the_database_the_cached_set_is_used_for_four_seconds():
    account = AccountFactory(is_active=False)
    assert is_disabled(account)

    with database_away():
        grow_older(REFRESH_AFTER_SECONDS)
        assert is_disabled(account)
        grow_older(MAX_AGE_SECONDS)
        with pytest.raises(DatabaseUnavailable):
            is_disabled(account)
    assert is_disabled(account)


@pytest.mark.django_db(transaction=True)
def test_an_outage_is_logged_once_and_not_once_per_request():
    account = AccountFactory()

    def fail(times: int) -> None:
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
    assert [line["log_level"] for line in logged if "disabled accounts" in line["event"]] == [
        "warning",
        "info",
        "warning",
    ]


@pytest.mark.django_db(transaction=True)
def test_many_threads_that_find_the_set_too_old_wait_for_one_reader():
    account = AccountFactory(is_active=False)
    is_disabled(account)
    grow_older(MAX_AGE_SECONDS)
    reads: list[str] = []

    def counted(execute: object, sql: str, params: object, many: bool, context: object) -> object:
        if "auth_user" in sql:
            reads.append(sql)
        return execute(sql, params, many, context)  # type: ignore[operator]

    def looked_up() -> bool:
        with connection.execute_wrapper(counted):
            return is_disabled(account)

    assert race([looked_up] * 16) == [True] * 16
    assert len(reads) == 1


def test_the_disabled_accounts_are_found_by_an_index():
    AccountFactory.create_batch(200)
    AccountFactory(is_active=False)
    disabled = User.objects.filter(is_active=False).values_list("pk", flat=True)

    assert "accounts_user_disabled" in disabled.explain()


def test_a_deleted_account_has_no_valid_token():
    account = AccountFactory()
    api = client_of(account)
    User.objects.filter(pk=account.pk).delete()

    assert api.get("/users/me").json()["code"] == "token_invalid"
