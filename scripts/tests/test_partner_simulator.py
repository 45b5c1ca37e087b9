"""The partner simulator as its clients meet it, over HTTP."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
import urllib3

from scripts.tests.simulator import Simulator, serving, wait_until

GOOD = ("--failure-rate", "0", "--late-rate", "0", "--silent-rate", "0", "--lost-rate", "0")


class Start(Protocol):
    def __call__(self, *options: str) -> Simulator: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a partner that is good but for these options."""
    with ExitStack() as started:
        run: partial[AbstractContextManager[Simulator]] = partial(serving, "partner", tmp_path, *GOOD)
        yield lambda *options: started.enter_context(run(*options))


def register(simulator: Simulator, key: str, code: str, **more: float) -> tuple[int, str]:
    status, said = simulator.post("/registrations", {"key": key, "code": code}, **more)
    return status, said["status"]


def test_a_key_registers_once_and_gets_the_first_outcome(start: Start):
    partner = start()
    assert [register(partner, "k1", "AAA") for _ in range(3)] == [(201, "registered")] * 3
    [found] = partner.get("/registrations", key="k1")[1]["results"]
    assert (found["code"], found["status"], found["asked"]) == ("AAA", "registered", 3)
    assert partner.get("/summary") == (200, {"registered": 1, "refused": 0, "cancelled": 0})


def test_a_refusal_is_for_good(start: Start):
    partner = start("--failure-rate", "1")
    assert [register(partner, "k1", "AAA") for _ in range(2)] == [(409, "refused")] * 2
    assert partner.post("/registrations/cancel", {"key": "k1"})[1]["status"] == "refused"


def test_a_code_is_registered_under_one_key_and_free_again_once_cancelled(start: Start):
    partner = start()
    assert register(partner, "k1", "AAA") == (201, "registered")
    assert register(partner, "k2", "AAA") == (409, "refused")
    assert partner.post("/registrations/cancel", {"key": "k1"})[1]["status"] == "cancelled"
    assert register(partner, "k3", "AAA") == (201, "registered")


def test_a_key_cancelled_before_it_came_is_never_registered(start: Start):
    partner = start()
    assert partner.post("/registrations/cancel", {"key": "late"})[0] == 200
    assert register(partner, "late", "AAA") == (410, "cancelled")
    assert partner.get("/registrations", code="AAA")[1]["results"] == []


def test_a_key_with_another_code_is_refused(start: Start):
    partner = start()
    register(partner, "k1", "AAA")
    status, said = partner.post("/registrations", {"key": "k1", "code": "BBB"})
    assert (status, said["code"]) == (422, "key_reused")


def test_some_are_never_answered_and_done_or_not(tmp_path: Path):
    for rate, results in (("--silent-rate", 1), ("--lost-rate", 0)):
        with serving("partner", tmp_path / rate, *GOOD, rate, "1") as partner:
            with pytest.raises(urllib3.exceptions.ReadTimeoutError):
                register(partner, "k1", "AAA", timeout=0.3)
            assert len(partner.get("/registrations", key="k1")[1]["results"]) == results


def test_some_are_done_at_once_and_answered_late(start: Start):
    partner = start("--late-rate", "1", "--late-seconds", "0.6")
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        register(partner, "k1", "AAA", timeout=0.2)
    wait_until(lambda: len(partner.get("/registrations", key="k1")[1]["results"]) == 1)
    assert register(partner, "k1", "AAA", timeout=5.0) == (201, "registered")
