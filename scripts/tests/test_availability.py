"""The availability of a trial: which requests count, which are good, and what outages take out."""

import time
from collections.abc import Iterator

import pytest

from scripts.chaos import availability, trial
from scripts.chaos.availability import Measurement, Request
from scripts.chaos.calls import Call, Connection, Observations
from scripts.chaos.soak import SOAK
from scripts.tests import canned_shop
from scripts.tests.canned_shop import LOST, Answer
from shop.tests.case_tables import in_one_test

ORDER = Call("POST", "/orders", "token", {"items": []}, "key")


def request(began: float, result: str = "201", *, seconds: float = 0.1, path: str = "/orders") -> Request:
    return Request(began, began + seconds, "POST", path, result)


@in_one_test(
    ("result", "is_good"),
    [
        ("200", True),
        ("202", True),
        ("304", True),
        ("402 payment_declined", True),
        ("409 sold_out", True),
        ("409 idempotency_key_in_flight", True),
        ("429 throttled", True),
        ("409 lock_not_acquired", False),
        ("500 internal_error", False),
        ("502 partner_failed", False),
        ("503 overloaded", False),
        ("503 unavailable", False),
        ("599 not_json", False),
        ("no answer", False),
    ],
)
def test_a_request_is_good_unless_the_shop_is_at_fault(result: str, is_good: bool) -> None:
    assert request(0, result).is_good is is_good


def test_requests_that_overlap_with_an_outage_are_taken_out() -> None:
    began = {"before": 9.0, "into it": 9.95, "in it": 11.0, "out of it": 11.95, "after": 12.01}
    requests = [request(at, f"503 {name}") for name, at in began.items()]
    around = request(9.5, "503 around", seconds=5)
    measured = Measurement([*requests, around], outages=[(10.0, 12.0)])
    assert set(measured.shares()["outside of outages"].bad) == {"503 before", "503 after"}
    assert measured.shares()["with outages"].count == 6


def test_outages_that_overlap_are_one() -> None:
    measured = Measurement([request(3.5), request(6.5)], outages=[(5, 6), (1, 3), (2, 4), (5.5, 5.7)])
    assert availability.merged(measured.outages) == [(1, 4), (5, 6)]
    assert measured.outage_seconds() == 4
    assert measured.shares()["outside of outages"].count == 1


@pytest.mark.parametrize(("bad", "is_below"), [(1, False), (2, True)])
def test_a_soak_below_the_goal_has_a_finding(bad: int, is_below: bool, capsys: pytest.CaptureFixture) -> None:
    seen = Observations()
    seen.measured.requests += [request(0)] * (1000 - bad) + [request(0, "no answer")] * bad
    trial._availability(SOAK, seen)
    assert bool(seen.findings) is is_below
    assert f"{1 - bad / 1000:.3%} of 1000 requests ({bad} x no answer)" in capsys.readouterr().out


@pytest.fixture
def port() -> Iterator[int]:
    """A server that answers every other request, and closes the connection instead of the rest."""
    with canned_shop.running() as shop:
        shop.answer = lambda sent: Answer(201, {}) if len(shop.sent) % 2 else LOST
        yield shop.port


def test_a_kept_connection_that_broke_may_have_broken_since_its_last_answer(port: int) -> None:
    """A web process that is killed breaks idle connections too: their next requests fail later."""
    seen = Observations()
    connection = Connection(port, seen, seed="1")
    connection.call_once(ORDER)
    seen.record_outage(time.monotonic(), time.monotonic())
    connection.call_once(ORDER)
    answered, broken = seen.measured.requests
    assert (answered.result, broken.result) == ("201", "no answer")
    assert broken.began == pytest.approx(answered.ended, abs=0.05)
    assert seen.measured.shares()["outside of outages"].bad.total() == 0
