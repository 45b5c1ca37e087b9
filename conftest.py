"""The environment of tests: the throwaway servers that `make test` starts, with an empty Redis."""

import contextlib
import os
from datetime import timedelta
from pathlib import Path

import hypothesis
import pytest
import redis
from django.conf import settings
from django.db import connection, connections
from django.test import TransactionTestCase

from accounts.api_keys import key_memory
from accounts.signing_in import sign_ins
from accounts.tests.clients import signed_in
from accounts.tokens import external_accounts, provider_keys
from coupons import issuing
from coupons.metrics import counters as of_coupons
from coupons.partners import confirmation
from foundation import clock
from foundation.db import stuck_rows
from foundation.http import cached_lists
from foundation.http.pages import large_responses
from foundation.observability import gauges
from foundation.operations import heartbeats
from foundation.redis import redis_client as shop_redis
from foundation.tests import open_transactions, process_state
from foundation.tests.factories import SuperuserFactory
from foundation.tests.racing import wait_until
from inventory import lost_demand
from orders.metrics import counters as of_orders
from payments.gateways import calls
from sales.waiting_room import room_view
from scripts import clients
from scripts.stack import SetupError
from shop.tests import database

pytest_plugins = (
    "accounts.tests.own_identity_provider",
    "coupons.tests.own_partner",
    "events.tests.own_data_platform",
    "payments.tests.own_gateway",
    "payments.tests.own_stripe",
    "foundation.tests.loop_guard",
    "foundation.tests.outages",
    "foundation.tests.tally",
    "backoffice.tests.rows_of_every_model",
    "foundation.tests.staff_groups",
)
"""The modules whose fixtures every test may use. A simulator is started once a process for all of them."""
LAST_SECONDS = timedelta(seconds=10)


def pytest_configure():
    """Refuse servers that are not throwaway ones, because tests empty databases. Make the Python client."""
    if os.environ.get("FIRSTCOME_TEST") != "1":
        raise pytest.UsageError(
            "tests run on throwaway servers: `make test`; or `make test SERVE=1`, "
            "and in another shell `source var/test/env` before pytest"
        )
    try:
        clients.make_python()
    except SetupError as error:
        raise pytest.UsageError(str(error)) from error
    process_state.follow_host()
    # WhiteNoise warns of a folder of static files that isn't there, and tests need none of the files.
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    # An example takes longer on a busy machine, which is no defect.
    hypothesis.settings.register_profile("suite", deadline=None)
    hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def redis_server():
    """A client of the throwaway Redis, on the database number that the shop uses."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        yield client


@pytest.fixture(scope="session")
def broker_server():
    """A client of the throwaway broker's database number."""
    with redis.Redis.from_url(os.environ["BROKER_URL"]) as client:
        yield client


@pytest.fixture(scope="session")
def _schema_dump(django_db_modify_db_settings, django_db_blocker):
    """A stack whose close ends the use of the dump: the database is created meanwhile."""
    with contextlib.ExitStack() as use:
        with django_db_blocker.unblock():
            use.enter_context(database.created_from_dump())
        yield use


@pytest.fixture(scope="session")
def django_db_setup(_schema_dump, django_db_setup, django_db_blocker):
    """The test's database. No test may leave a transaction open, whose locks another test would wait for."""
    with django_db_blocker.unblock():
        _schema_dump.close()
        # Without a test that needs it, no database is made.
        if connection.introspection.table_names():
            database.empty(connection)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", _empty_databases)
        yield
    with django_db_blocker.unblock():
        wait_until(lambda: not open_transactions.of_others())


def _empty_databases(test):
    for alias in test._databases_names(include_mirrors=False):
        database.empty(connections[alias])


@pytest.fixture(autouse=True)
def _reset_process_state():
    """Reset what a process keeps between requests, so that no test affects the next."""
    process_state.follow_host()
    process_state.forget_shared_reads()
    key_memory._existing_accounts.clear()
    key_memory._written_at.clear()
    external_accounts.forget()
    provider_keys.KEYS.forget()
    process_state.forget_attempts()
    sign_ins._unnoted_failures = 0
    stuck_rows._stuck.clear()
    process_state.forget_calls()
    process_state.forget_connections()
    process_state.forget_actor()
    shop_redis.reset()
    issuing.forget()
    for counter in (of_coupons.CAMPAIGN_REQUESTS, of_coupons.CAMPAIGN_REDEEMED, of_orders.PRODUCT_REFUSALS):
        counter._values.clear()
    calls.forget()
    confirmation.reset()
    gauges._cached.clear()
    heartbeats._own.clear()
    cached_lists._lists.clear()
    room_view.clear()
    lost_demand._waiting.clear()


@pytest.fixture(autouse=True)
def _one_day(_reset_process_state):
    """Begin no test in the last seconds of a day of the shop: it would count by the day on two of them."""
    wait_until(lambda: clock.day_bounds(clock.today())[1] - clock.now() > LAST_SECONDS, seconds=60)


@pytest.fixture(autouse=True)
def _empty_redis(_reset_process_state, redis_server, broker_server):
    """Empty Redis once this process has nothing more to send there."""
    redis_server.flushdb()
    broker_server.flushdb()


@pytest.fixture(autouse=True)
def _free_slots():
    """Fail a test that leaves a large response open: its slot would be missing in each later test."""
    yield
    taken = sum(not file.closed for file in large_responses._open)
    large_responses._open.clear()
    assert not taken, f"{taken} large responses were neither read to their end nor closed"


@pytest.fixture
def operator(db):
    """The browser of a superuser, `ada`."""
    return signed_in(SuperuserFactory(username="ada"))


@pytest.fixture(autouse=True)
def _quick_hashing(settings):
    """Hash passwords fast: the slow hash protects secrets, and tests have none."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
