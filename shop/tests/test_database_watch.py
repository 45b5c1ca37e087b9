"""A database that hangs: noticed within seconds, and only then; and it comes back by itself."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, close_old_connections, connection
from django.test import Client

from shop import transactions
from shop.mysql import watch
from shop.tests.hung_server import Relay, relayed
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import ask

REFUSED = 2002
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with relayed(tmp_path) as relay:
        yield relay


def timed(work: Callable[[], object]) -> float:
    started_at = time.monotonic()
    work()
    return time.monotonic() - started_at


def look() -> None:
    transactions.run(lambda: ask(connection, "SELECT 1"), transactions.KEYED)


def is_away() -> None:
    with pytest.raises(transactions.DatabaseAway):
        look()


def answers() -> bool:
    try:
        look()
    except transactions.DatabaseAway:
        return False
    return True


def test_who_waits_for_a_server_that_hangs_is_told_within_six_seconds(relay: Relay) -> None:
    look()
    relay.freeze()
    assert timed(is_away) < 6


def test_everybody_is_told_those_with_a_connection_and_those_without(relay: Relay) -> None:
    look()
    relay.freeze()
    assert max(race([lambda: timed(is_away)] * 8)) < 6
    assert timed(is_away) < watch.PATIENCE_SECONDS


def test_it_comes_back_by_itself(relay: Relay) -> None:
    look()
    relay.freeze()
    is_away()
    relay.thaw()
    wait_until(answers)
    assert all(answers() for _ in range(3))


def test_a_call_is_answered_503_within_six_seconds(relay: Relay) -> None:
    client = Client()
    assert client.get("/api/v1/products").status_code == 200
    relay.freeze()
    started_at = time.monotonic()
    answer = client.get("/api/v1/products")
    assert time.monotonic() - started_at < 6
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    relay.thaw()
    close_old_connections()  # as the server does after each request, and the test client does not
    wait_until(lambda: client.get("/api/v1/products").status_code == 200)


def test_a_slow_statement_is_let_be(relay: Relay) -> None:
    longer = watch.PERIOD_SECONDS + watch.PATIENCE_SECONDS + 1
    assert ask(connection, "SELECT SLEEP(%s)", longer) == [(0,)]


def test_a_server_that_refuses_is_down_and_never_counts_as_hung(relay: Relay) -> None:
    look()
    relay.close()
    deadline = time.monotonic() + 3 * watch.PERIOD_SECONDS
    while time.monotonic() < deadline:
        connection.close()
        with pytest.raises(OperationalError) as refused:
            connection.ensure_connection()
        assert refused.value.args[0] == REFUSED
