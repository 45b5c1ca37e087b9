"""What transactions and batches count: retries by reason, commits whose reply was lost, batches once each."""

from pathlib import Path

import pytest
from django.db import OperationalError, connection
from prometheus_client import REGISTRY

from shop.concurrency.group_commit import Batcher, run_without_transaction
from shop.db import transactions
from shop.tests import tally
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import ask


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def retried() -> dict[str, float]:
    reasons = ("deadlock", "lock_wait", "changed", "connection")
    return {name: sample("firstcome_transactions_retried_total", reason=name) for name in reasons}


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1213, "deadlock"),
        (1205, "lock_wait"),
        (1020, "changed"),
        (3101, "changed"),
        (2013, "connection"),
        (1290, "connection"),
    ],
)
def test_a_retry_is_counted_by_its_reason(counting: None, number: int, reason: str) -> None:
    before, errors = retried(), iter([OperationalError(number, "again"), None])

    def work() -> int:
        if error := next(errors):
            raise error
        return 1

    assert transactions.run(work, transactions.REPEATABLE) == 1
    assert retried() == before | {reason: before[reason] + 1}


def test_a_commit_whose_reply_is_lost_is_counted_once(counting: None, tmp_path: Path) -> None:
    before = sample("firstcome_commits_unknown_total")
    with losing_reply_to_commit(tmp_path) as is_lost:
        transactions.run(add_one, transactions.ONCE)
        assert is_lost.is_set()
    assert sample("firstcome_commits_unknown_total") == before + 1


def add_one() -> None:
    ask(connection, "UPDATE tally SET value = value + 1 WHERE id = %s", tally.HOT)


def test_a_batch_is_counted_once_with_its_requests() -> None:
    sizes = []

    def decide(requests: object) -> list[int]:
        found = list(requests)  # type: ignore[call-overload]
        sizes.append(len(found))
        return found

    batcher: Batcher[int, int] = Batcher(
        decide, name="test_batches", linger_seconds=0.1, run=run_without_transaction
    )
    race([lambda number=number: batcher.submit(number) for number in range(20)])

    wait_until(lambda: sample("firstcome_batch_requests_count", batcher="test_batches") == len(sizes))
    assert sum(sizes) == sample("firstcome_batch_requests_sum", batcher="test_batches") == 20
    for name in ("firstcome_batch_wait_seconds", "firstcome_batch_seconds"):
        assert sample(f"{name}_count", batcher="test_batches") == len(sizes)
        assert 0 <= sample(f"{name}_sum", batcher="test_batches") < 60
