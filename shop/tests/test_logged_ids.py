"""The ids in log lines: of requests, of threads that work for several, and of tasks."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from celery import Task
from structlog import get_logger

from shop.concurrency.batching import Batcher, run_without_transaction
from shop.journal import journal
from shop.observability import logs, task_context
from shop.operations import dispatch
from shop.tests.racing import race

log = get_logger("tests.ids")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Returns the lines that were logged by the event's text."""
    caplog.set_level(logging.INFO, logger="tests.ids")

    def of(event: str) -> list[dict[str, Any]]:
        found = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        return [line for line in found if line["event"] == event]

    return of


def test_a_requests_lines_have_its_id_and_its_account_once_it_is_known(lines: Any) -> None:
    with logs.bound_request("one"), journal.acting(journal.unidentified("one")):
        log.info("before")
        journal.identify_actor(account_id=7, is_staff=False)
        log.info("after")
    log.info("outside")

    assert [line.get("request_id") for line in lines("before")] == ["one"]
    assert "account" not in lines("before")[0]
    assert lines("after")[0] | {"request_id": "one", "account": 7} == lines("after")[0]
    assert not {"request_id", "account"} & lines("outside")[0].keys()


def test_a_calls_lines_have_its_api_key_beside_the_account(lines: Any) -> None:
    with logs.bound_request("one"), journal.acting(journal.unidentified("one")):
        logs.set_api_key(3)
        log.info("refused")
        journal.identify_actor(account_id=7, is_staff=True, name="API key 3")
        log.info("accepted")
    with logs.bound_request("two"):
        log.info("another")

    assert lines("refused")[0] | {"request_id": "one", "api_key": 3} == lines("refused")[0]
    assert lines("accepted")[0] | {"account": 7, "api_key": 3} == lines("accepted")[0]
    assert "api_key" not in lines("another")[0]


@pytest.mark.django_db(transaction=True)
def test_a_batch_logs_the_ids_of_all_requests_that_share_it(lines: Any) -> None:
    def decide(requests: Sequence[str]) -> list[str]:
        log.info("deciding", size=len(requests))
        return list(requests)

    batcher: Batcher[str, str] = Batcher(decide, run=run_without_transaction, linger_seconds=0.2)

    def ask(name: str) -> str:
        with logs.bound_request(name):
            return batcher.submit(name)

    names = [f"request-{number}" for number in range(8)]
    race([lambda name=name: ask(name) for name in names])
    ask("alone")

    shared = [line for line in lines("deciding") if line["size"] > 1]
    assert shared
    named = [name for line in shared for name in line["request_ids"]]
    named += [line["request_id"] for line in lines("deciding") if line["size"] == 1]
    assert sorted(named) == sorted([*names, "alone"])


def test_a_task_that_runs_here_has_the_id_of_the_request_that_caused_it(lines: Any) -> None:
    class Work(Task):  # type: ignore[misc,type-arg]
        name = "tests.work"

        def run(self) -> None:
            log.info("working")

    with logs.bound_request("one"):
        headers = task_context.capture()
    dispatch.run_locally(Work(), [], headers)

    assert lines("working")[0] | {"task": "tests.work", "request_id": "one"} == lines("working")[0]


def test_a_message_for_several_requests_carries_the_ids_of_all() -> None:
    assert task_context.merge([{"request_id": "a"}]) == {"request_id": "a"}
    assert task_context.merge([{"request_id": "a"}, {}, {"request_id": "a"}]) == {"request_id": "a"}
    several = [{"request_id": "a"}, {"request_ids": ["b", "c"]}, {}]
    assert task_context.merge(several) == {"request_ids": ["a", "b", "c"]}
    recorded, other = f"00-{1:032x}-{1:016x}-01", f"00-{2:032x}-{2:016x}-00"
    traces = task_context.merge([{"traceparent": other}, {"traceparent": recorded}, {"traceparent": ""}])
    assert traces == {"traceparent": recorded}
