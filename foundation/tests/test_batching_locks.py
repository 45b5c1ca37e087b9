"""A row that another transaction keeps locked fails the requests that need it, and none of the others."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection, models

from foundation.concurrency.batching import Batcher
from foundation.db import bulk_sql, stuck_rows, transactions
from foundation.errors import Unavailable
from foundation.tests import servers, tally
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import ask, holding
from foundation.tests.test_batching import Gate, led_by, lock_rows, submit_in_order
from foundation.tests.waiting import within

# `innodb_lock_wait_timeout`, and the time for the batch, its probes and its second attempt.
ONE_LOCK_WAIT = 5.0
SOON = 2.0


class Row(models.Model):
    """The tally's row as a model, which `stuck_rows` needs; the tally creates its table."""

    id = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "tally"
        managed = False
        db_table = "tally"


def row_of(wanted: int) -> list[stuck_rows.Row]:
    return [stuck_rows.Row(Row, wanted)]


def submitted(batcher: Batcher[int, int], gate, wanted: Sequence[int]) -> list[Any]:
    with led_by(batcher, gate, tally.OTHER):
        batch = submit_in_order(batcher, wanted)
    return [submission.result() for submission in batch]


def test_a_locked_row_fails_only_the_requests_that_need_it_after_one_lock_wait(counting):
    gate = Gate(list, then=lock_rows)
    batcher = Batcher(gate, rows_of=row_of, wait_seconds=60)
    with holding(tally.LOCK, tally.HOT):
        began_at = time.monotonic()
        outcomes = submitted(batcher, gate, [tally.HOT, *[tally.OTHER] * 6, tally.HOT])
        seconds = time.monotonic() - began_at
    assert outcomes[1:-1] == [tally.OTHER] * 6
    for refused in (outcomes[0], outcomes[-1]):
        assert isinstance(refused, transactions.LockWaitTimeout)
        assert (refused.code, refused.retry_after) == ("unavailable", 1)
    assert outcomes[0] is not outcomes[-1]
    assert seconds < ONE_LOCK_WAIT + SOON + servers.lateness_of_lock_waits(2)


def test_repeats_while_the_row_stays_locked_do_not_block_the_batcher_again(counting):
    gate = Gate(list, then=lock_rows)
    batcher = Batcher(gate, rows_of=row_of, wait_seconds=60)
    with holding(tally.LOCK, tally.HOT):
        submitted(batcher, gate, [tally.HOT, tally.OTHER])
        with within(SOON):
            for _ in range(3):
                with pytest.raises(transactions.LockWaitTimeout):
                    batcher.submit(tally.HOT)
                assert batcher.submit(tally.OTHER) == tally.OTHER
    wait_until(lambda: not stuck_rows.any_known())
    assert batcher.submit(tally.HOT) == tally.HOT


def test_a_batcher_without_rows_of_fails_the_batch_after_one_lock_wait(counting):
    gate = Gate(list, then=lock_rows)
    batcher = Batcher(gate, wait_seconds=60)
    with holding(tally.LOCK, tally.HOT):
        outcomes = submitted(batcher, gate, [tally.HOT] * 4)
    assert all(isinstance(outcome, transactions.LockWaitTimeout) for outcome in outcomes)
    [_, *batches] = gate.batches
    assert len(batches) == 1, "not one by one, each with another lock wait"


def test_an_outage_is_not_retried_for_each_request(counting):
    def decide(wanted):
        raise Unavailable("Redis is away.")

    gate = Gate(list, then=decide)
    outcomes = submitted(Batcher(gate), gate, [tally.OTHER] * 5)
    assert [(type(outcome), outcome.args) for outcome in outcomes] == [(Unavailable, ("Redis is away.",))] * 5
    assert len({id(outcome) for outcome in outcomes}) == 5
    [_, *batches] = gate.batches
    assert [len(batch) for batch in batches] == [5]


def test_a_faulty_request_beside_a_locked_row_costs_at_most_one_more_lock_wait(counting):
    def decide(wanted):
        if 3 in wanted:
            raise ValueError(3)
        return lock_rows(wanted)

    gate = Gate(list, then=decide)
    batcher = Batcher(gate, rows_of=row_of, wait_seconds=60)
    with holding(tally.LOCK, tally.HOT):
        began_at = time.monotonic()
        outcomes = submitted(batcher, gate, [tally.OTHER, 3, *[tally.HOT] * 5, tally.OTHER])
        seconds = time.monotonic() - began_at
    assert (outcomes[0], outcomes[-1]) == (tally.OTHER, tally.OTHER)
    assert isinstance(outcomes[1], ValueError)
    assert all(isinstance(outcome, transactions.LockWaitTimeout) for outcome in outcomes[2:-1])
    assert seconds < ONE_LOCK_WAIT + SOON + servers.lateness_of_lock_waits(2)


def test_a_row_that_others_lock_repeatedly_is_not_stuck(counting):
    """Rows of a hot product are locked nearly always, by other processes' batches of 20 ms each."""
    over = threading.Event()

    def take_again_and_again():
        while not over.is_set():
            with holding(tally.LOCK, tally.HOT):
                over.wait(0.02)

    others = [threading.Thread(target=take_again_and_again) for _ in range(3)]
    for other in others:
        other.start()
    try:
        wanted = {stuck_rows.Row(Row, tally.HOT)}
        wait_until(lambda: bool(bulk_sql.locked_values(Row, [tally.HOT])))
        assert [stuck_rows.find(wanted) for _ in range(10)] == [set()] * 10
        batcher = Batcher(lock_rows, rows_of=row_of)
        assert [batcher.submit(tally.HOT) for _ in range(10)] == [tally.HOT] * 10
    finally:
        over.set()
        for other in others:
            other.join()


def test_a_stuck_row_is_forgotten_as_soon_as_it_is_free(counting):
    wanted = {stuck_rows.Row(Row, tally.HOT), stuck_rows.Row(Row, tally.OTHER)}
    with holding(tally.LOCK, tally.HOT):
        assert stuck_rows.find(wanted) == {stuck_rows.Row(Row, tally.HOT)}
        assert stuck_rows.known(wanted) == {stuck_rows.Row(Row, tally.HOT)}
    with within(SOON):
        wait_until(lambda: not stuck_rows.any_known())
    assert ask(connection, "SELECT @@innodb_lock_wait_timeout") == [(ONE_LOCK_WAIT,)]


def test_missing_rows_do_not_count_as_locked(counting):
    with holding(tally.LOCK, tally.HOT):
        assert bulk_sql.locked_values(Row, [tally.HOT, tally.OTHER, 99]) == {tally.HOT}
        assert bulk_sql.locked_values(Row, [tally.HOT], shared=True) == {tally.HOT}
    with holding("SELECT value FROM tally WHERE id = %s LOCK IN SHARE MODE", tally.HOT):
        assert bulk_sql.locked_values(Row, [tally.HOT]) == {tally.HOT}
        assert bulk_sql.locked_values(Row, [tally.HOT], shared=True) == set()
    assert bulk_sql.locked_values(Row, []) == set()
