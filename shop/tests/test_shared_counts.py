"""Counts of all processes, by second: brought together over Redis while they are read, and only then."""

import pytest
import redis

from coupons.metrics import counters
from shop.observability import request_metrics
from shop.operations import shared_counts
from shop.operations.shared_counts import Sharing
from shop.tests.outages import OwnRedis
from shop.tests.second_process import another_process

ANOTHER = """
from shop.observability import request_metrics
from shop.operations.shared_counts import Sharing

sharing = Sharing()
sharing.run_once(second=99)
request_metrics.count_refusal("coupons.api.Coupons", 409, "sold_out")
print("ready", flush=True)
sys.stdin.readline()
print(sharing.run_once(second=100), flush=True)
sys.stdin.readline()
"""


@pytest.mark.boots("another process of the shop")
def test_what_two_processes_count_in_a_second_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_counts, "READ_SECONDS", 60)  # the other process takes some to start
    shared_counts.read([100])
    sharing = Sharing()
    assert not sharing.run_once(second=99)  # what was counted before is no difference
    request_metrics.count_refusal("coupons.api.Coupons", 409, "sold_out")
    request_metrics.count_refusal("orders.api.Orders", 409, "sold_out")
    counters.count_outcomes([(7, "failed")])
    request_metrics.count_request("coupons.api.Coupons", "POST", 201, 0.06)
    request_metrics.count_request("queue-ticket", "GET", 200, 20.0)
    request_metrics.count_request("admin:index", "GET", 200, 0.06)
    with another_process(ANOTHER) as process:
        assert process.stdin and process.stdout
        assert sharing.run_once(second=100)
        process.stdin.write("share\n")
        process.stdin.flush()
        assert process.stdout.readline() == "True\n"
        found = shared_counts.read([100, 101])

    assert found is not None
    assert found.keys() == {100}
    counts = found[100]
    assert counts[("processes",)] == 2
    assert counts[("refusals", "sold_out")] == 3
    assert counts[("campaign", "7", "failed")] == 1
    seconds = {name[2]: number for name, number in counts.items() if name[0] == "seconds"}
    assert ("0.05" in seconds, seconds["0.075"], seconds["10.0"], seconds["25.0"]) == (False, 1, 1, 2)
    assert seconds["+Inf"] == 2
    assert {name[1] for name in counts if name[0] == "seconds"} == {"coupons"}


def test_nothing_is_shared_while_nothing_is_read(redis_server: redis.Redis) -> None:
    sharing = Sharing()
    for second in (1, 2):
        request_metrics.count_refusal("orders.api.Orders", 409, "conflict")
        assert not sharing.run_once(second=second)
    assert redis_server.keys("firstcome:counts:*") == []

    shared_counts.read([2])
    assert 0 < redis_server.ttl(shared_counts.READ_KEY) <= shared_counts.READ_SECONDS
    assert not sharing.run_once(second=3)
    request_metrics.count_refusal("orders.api.Orders", 409, "conflict")
    assert sharing.run_once(second=4)
    [(second, counts)] = (shared_counts.read([3, 4]) or {}).items()
    assert (second, counts[("refusals", "conflict")]) == (4, 1)
    assert 0 < redis_server.ttl("firstcome:counts:4") <= shared_counts.KEPT_SECONDS


def test_a_pass_that_missed_a_second_shares_nothing_and_the_next_one_a_second() -> None:
    """It shared both seconds as one: a slow Redis doubled the rates on the board."""
    shared_counts.read([3])
    sharing, shared = Sharing(), {}
    for second in (3, 4, 6, 7):
        request_metrics.count_refusal("orders.api.Orders", 409, "conflict")
        shared[second] = sharing.run_once(second=second)

    assert shared == {3: False, 4: True, 6: False, 7: True}
    found = shared_counts.read([4, 5, 6, 7]) or {}
    assert {second: counts[("refusals", "conflict")] for second, counts in found.items()} == {4: 1, 7: 1}


def test_without_redis_nothing_is_known_and_nothing_raised(own_redis: OwnRedis) -> None:
    assert shared_counts.read([1]) == {}
    own_redis.kill()
    assert shared_counts.read([1]) is None
    assert not Sharing().run_once(second=1)
