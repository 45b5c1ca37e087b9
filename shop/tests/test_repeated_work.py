"""Threads that work again and again, and readings that callers share: what all of their users rely on."""

import asyncio
import threading
import time
from functools import partial

import pytest
from django.db import DatabaseError
from structlog.testing import capture_logs

from shop.concurrency.shared_read import SharedRead
from shop.db.transactions import DatabaseUnavailable
from shop.repeated_work import RepeatedWork, start_once
from shop.tests.racing import race, wait_until


def test_work_goes_on_after_errors_of_which_the_first_in_a_row_is_logged() -> None:
    calls, ended = list[int](), threading.Event()

    def work() -> None:
        calls.append(len(calls))
        if len(calls) in (2, 3, 5):
            raise RuntimeError("Not now.")

    repeated = RepeatedWork(
        work, name="test", pause=lambda: 0.01, at_end=ended.set, failing="nothing is done"
    )
    with capture_logs() as logged:
        repeated.start()
        wait_until(lambda: len(calls) >= 6)
        repeated.stop(within_seconds=5)
    assert ended.is_set()
    number = len(calls)
    assert [line["event"] for line in logged] == ["nothing is done; trying again"] * 2
    time.sleep(0.05)
    assert len(calls) == number


def test_however_often_it_is_started_one_thread_works() -> None:
    repeated = RepeatedWork(lambda: None, name="only one", pause=lambda: 0.01)
    race([repeated.start] * 16)
    assert [thread.name for thread in threading.enumerate()].count("only one") == 1
    repeated.stop(within_seconds=5)


def test_a_run_that_lasts_is_not_started_again_and_its_callers_share_its_outcome() -> None:
    may_end, runs = threading.Event(), list[int]()

    def work() -> int:
        runs.append(len(runs))
        assert may_end.wait(10)
        return len(runs)

    lasting = race([partial(start_once, "lasting", work)] * 8)
    may_end.set()
    assert {run.result(10) for run in lasting} == {1}
    with pytest.raises(ZeroDivisionError):
        start_once("lasting", lambda: 1 // 0).result(10)
    assert len(runs) == 1


def test_one_caller_reads_for_all_and_the_others_get_the_old_result_while_it_is_recent() -> None:
    may_end, reads = threading.Event(), list[int]()

    def read() -> int:
        reads.append(len(reads))
        if len(reads) == 2:
            assert may_end.wait(10)
        return len(reads)

    shared = SharedRead(read, name="test", seconds=0.0, max_age_seconds=60.0)
    assert shared.get() == 1
    reader = threading.Thread(target=shared.get)
    reader.start()
    wait_until(lambda: len(reads) == 2)
    assert race([shared.get] * 8) == [1] * 8
    may_end.set()
    reader.join(10)
    assert shared.recent() == 2


def test_coroutines_share_one_reading_and_one_that_leaves_takes_nothing_from_the_others() -> None:
    reads = list[float]()

    async def ask() -> list[int]:
        shared = SharedRead(lambda: reads.append(1.0) or len(reads), name="test", seconds=60.0)
        waits = [asyncio.create_task(shared.get_on_loop(asyncio.to_thread)) for _ in range(50)]
        await asyncio.sleep(0)
        waits.pop().cancel()
        return await asyncio.gather(*waits)

    assert asyncio.run(ask()) == [1] * 49


def test_a_result_outlives_an_outage_until_it_is_too_old() -> None:
    is_away = False

    def read() -> str:
        if is_away:
            raise DatabaseError("The server has gone away.")
        return "read"

    shared = SharedRead(read, name="test", seconds=0.0, max_age_seconds=60.0)
    assert shared.get() == "read"
    is_away = True
    assert shared.get() == "read"
    shared.forget()
    with pytest.raises(DatabaseUnavailable):
        shared.get()


def test_a_reading_that_takes_long_rests_so_that_it_takes_its_share_of_the_time() -> None:
    shared = SharedRead(partial(time.sleep, 0.05), name="test", seconds=0.0, max_age_seconds=60.0, share=0.1)
    shared.get()
    fresh = shared.fresh()
    assert fresh and fresh.is_due_at - fresh.began_at >= 0.5
