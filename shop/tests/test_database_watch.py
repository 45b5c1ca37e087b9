"""A hanging database is detected within seconds, a slow one is not, and recovery needs no operator."""

import time

import pytest
from django.db import OperationalError, close_old_connections, connection
from django.test import Client

from accounts.tests.clients import problem_of
from foundation.db import transactions
from foundation.db.mysql import base, watch
from foundation.errors import Unavailable
from foundation.tests import tally
from foundation.tests.asgi_client import send_request_blocking
from foundation.tests.hung_server import relayed
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import ask, kill_others
from foundation.tests.waiting import in_background, waiting_at, within
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def relay(tmp_path):
    with relayed(tmp_path) as relay:
        yield relay


def query():
    transactions.run(lambda: ask(connection, "SELECT 1"), transactions.KEYED)


def answers() -> bool:
    try:
        query()
    except transactions.DatabaseUnavailable:
        return False
    return True


def test_all_threads_fail_with_and_without_a_connection(relay):
    query()
    relay.freeze()
    with within(6):
        assert race([answers] * 8) == [False] * 8  # each thread needs a new connection
        assert not answers()  # by the connection that was open before


def test_a_call_gets_503_within_six_seconds(relay):
    client = Client()
    assert client.get("/api/v1/products").status_code == 200
    relay.freeze()
    with within(6):
        answer = client.get("/api/v1/products")
    assert problem_of(answer) == (503, "unavailable")
    relay.thaw()
    close_old_connections()  # the server does this after each request, the test client does not
    wait_until(lambda: client.get("/api/v1/products").status_code == 200)


def test_a_call_after_a_rest_in_which_its_threads_connection_was_lost_is_answered_by_another(monkeypatch):
    """In Django's lane, where the start of a request is no use of the connection."""
    monkeypatch.setattr(base, "IDLE_SECONDS_BEFORE_PING", 0.2)
    path = f"/api/v1/products/{ProductFactory().pk}"
    assert send_request_blocking("GET", path).status == 200
    kill_others()
    time.sleep(0.2)
    assert send_request_blocking("GET", path).status == 200


def test_a_slow_statement_is_not_interrupted(relay):
    longer = watch.PERIOD_SECONDS + watch.PING_TIMEOUT_SECONDS + 1
    assert ask(connection, "SELECT SLEEP(%s)", longer) == [(0,)]


def test_a_server_that_refuses_is_down_and_never_counts_as_hung(relay):
    query()
    relay.close()
    deadline = time.monotonic() + 3 * watch.PERIOD_SECONDS
    while time.monotonic() < deadline:
        connection.close()
        with pytest.raises(OperationalError) as refused:
            connection.ensure_connection()
        assert refused.value.args[0] == 2002  # refused


def watched() -> watch.Watch:
    return watch.get_watch(connection.get_connection_params())


def test_one_unanswered_ping_closes_no_connection(relay):
    asleep = in_background(lambda: ask(connection, "SELECT SLEEP(5)"))
    wait_until(lambda: waiting_at("SELECT SLEEP(5)") == 1)
    relay.freeze()
    wait_until(lambda: watched()._unanswered == 1)
    relay.thaw()
    assert asleep.result() == [(0,)]
    wait_until(lambda: watched()._unanswered == 0)


def test_a_commit_may_finish_while_all_other_connections_are_closed(counting, relay):
    attempts = []

    def count_and_freeze():
        attempts.append(1)
        outcomes = tally.count(["one"])
        relay.freeze()
        return outcomes

    query()
    committing = in_background(lambda: transactions.run(count_and_freeze, transactions.REPEATABLE))
    wait_until(lambda: watched()._is_hung)
    assert not answers()
    assert not committing.done()
    relay.thaw()
    assert committing.result() == [1]
    assert attempts == [1], "no second attempt"
    connection.close()
    wait_until(answers)
    assert tally.entries() == {"one": 1}


def test_a_commit_is_ended_too_if_the_server_stays_unavailable(counting, relay, monkeypatch):
    monkeypatch.setattr(watch, "COMMIT_WAIT_SECONDS", 3.0)

    def count_and_freeze():
        outcomes = tally.count(["one"])
        relay.freeze()
        return outcomes

    committing = in_background(lambda: transactions.run(count_and_freeze, transactions.REPEATABLE))
    with pytest.raises(Unavailable):
        committing.result(timeout=10)
