"""Log lines: the ids of requests, shared threads and tasks in them; and no caller waits for their writing."""

import io
import json
import logging
import os
import subprocess
import sys
from threading import Thread
from uuid import UUID

import pytest
from celery import Task
from gunicorn import glogging
from structlog import get_logger

from foundation import journal
from foundation.concurrency.batching import Batcher, run_without_transaction
from foundation.errors import NotFound
from foundation.observability import logs, task_context
from foundation.observability.logs import BackgroundHandler
from foundation.operations import dispatch
from foundation.tests.racing import race_each, wait_until
from foundation.tests.waiting import within

log = get_logger("tests.ids")


@pytest.fixture
def lines(caplog):
    """Returns the lines that were logged by the event's text."""
    caplog.set_level(logging.INFO, logger="tests.ids")

    def of(event):
        found = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        return [line for line in found if line["event"] == event]

    return of


def test_a_calls_lines_have_its_id_and_its_api_key_and_account_once_these_are_known(lines):
    with logs.bound_request("one"), journal.acting(journal.unidentified("one")):
        log.info("before")
        logs.note_caller("api_key", 3)
        log.info("refused")
        journal.identify_actor(account_id=7, is_staff=True, name="API key 3")
        log.info("accepted")
    with logs.bound_request("two"):
        log.info("another")
    log.info("outside")

    [before], [refused], [accepted] = lines("before"), lines("refused"), lines("accepted")
    assert before["request_id"] == "one" and not {"account", "api_key"} & before.keys()
    assert refused | {"request_id": "one", "api_key": 3} == refused and "account" not in refused
    assert accepted | {"request_id": "one", "account": 7, "api_key": 3} == accepted
    assert "api_key" not in lines("another")[0]
    assert not {"request_id", "account"} & lines("outside")[0].keys()


def test_a_batch_logs_the_ids_of_all_requests_that_share_it(transactional_db, lines):
    def decide(requests):
        log.info("deciding", size=len(requests))
        return list(requests)

    batcher = Batcher(decide, run=run_without_transaction, linger_seconds=0.2)

    def ask(name):
        with logs.bound_request(name):
            return batcher.submit(name)

    names = [f"request-{number}" for number in range(8)]
    race_each(ask, names)
    ask("alone")

    shared = [line for line in lines("deciding") if line["size"] > 1]
    assert shared
    named = [name for line in shared for name in line["request_ids"]]
    named += [line["request_id"] for line in lines("deciding") if line["size"] == 1]
    assert sorted(named) == sorted([*names, "alone"])


def test_a_task_that_runs_here_has_the_id_of_the_request_that_caused_it(db, lines):
    class Work(Task):  # type: ignore[misc,type-arg]
        name = "tests.work"

        def run(self):
            log.info("working")

    with logs.bound_request("one"):
        headers = task_context.capture()
    dispatch.run_locally(Work(), [], headers)

    assert lines("working")[0] | {"task": "tests.work", "request_id": "one"} == lines("working")[0]


def test_a_message_for_several_requests_carries_the_ids_of_all():
    assert task_context.merge([{"request_id": "a"}]) == {"request_id": "a"}
    assert task_context.merge([{"request_id": "a"}, {}, {"request_id": "a"}]) == {"request_id": "a"}
    several = [{"request_id": "a"}, {"request_ids": ["b", "c"]}, {}]
    assert task_context.merge(several) == {"request_ids": ["a", "b", "c"]}
    recorded, other = f"00-{1:032x}-{1:016x}-01", f"00-{2:032x}-{2:016x}-00"
    traces = task_context.merge([{"traceparent": other}, {"traceparent": recorded}, {"traceparent": ""}])
    assert traces == {"traceparent": recorded}


@pytest.mark.parametrize("raised", [{}, {"exc_info": ValueError("raised")}])
def test_a_line_has_the_text_of_an_error_and_of_an_id(raised):
    [formatter] = [
        one.formatter for one in logging.root.handlers if isinstance(one.formatter, logs.Formatter)
    ]
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(formatter)
    logger = logging.getLogger("tests.ids")
    logger.addHandler(handler)
    try:
        log.error("failed", error=NotFound("x" * 1000), order=UUID(int=7), orders=[UUID(int=7)], **raised)
    finally:
        logger.removeHandler(handler)

    line = json.loads(handler.stream.getvalue())
    assert line["error"] == "x" * logs.LONGEST_TEXT
    assert (line["order"], line["orders"]) == (str(UUID(int=7)), [str(UUID(int=7))])
    assert ("raised" in line.get("exception", "")) is bool(raised)


LINE = "x" * 1000
IN_BACKGROUND = (
    "import logging, django; django.setup()\n"
    "from foundation.observability import logs; logs.write_in_background()\n"
)


def test_a_pipe_that_is_not_read_delays_no_caller_and_holds_so_many_lines(monkeypatch):
    logger, read = logging.getLogger(logs.__name__), list[str]()
    # The pipe holds 64 KiB.
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as lines, os.fdopen(write_end, "w") as stream:
        handler = BackgroundHandler(stream, most_lines=100)
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "handlers", [handler])
        with within(1):
            for _ in range(1000):
                logger.warning(LINE)

        Thread(target=lambda: read.extend(iter(lines.readline, "")), daemon=True).start()

        wait_until(handler._waiting.empty)
        logger.warning("the last")
        wait_until(lambda: read[-1:] == ["the last\n"])
    assert 100 <= read.count(f"{LINE}\n") == len(read) - 1 < 500


@pytest.mark.boots("a Python process")
def test_the_end_of_the_process_waits_a_moment_for_its_lines():
    program = "for number in range(3): logging.getLogger('shop').warning('line %s', number)"
    command = [sys.executable, "-c", IN_BACKGROUND + program]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == ["line 0", "line 1", "line 2"]


@pytest.mark.boots("a Python process")
def test_a_process_whose_lines_are_not_read_ends_all_the_same():
    program = IN_BACKGROUND + f"for number in range(500): logging.getLogger('shop').warning('{LINE}')"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 0


def test_the_web_servers_own_lines_can_be_formatted_beside_the_shops():
    """They name the process, and lines of ours leave out what takes time to find."""
    record = logging.getLogger("gunicorn.error").makeRecord(
        "", logging.ERROR, "", 0, "%s ended", ("w",), None
    )
    shown = logging.Formatter(glogging.Logger.error_fmt).format(record)
    assert f"[{os.getpid()}]" in shown
    assert shown.endswith("w ended")
