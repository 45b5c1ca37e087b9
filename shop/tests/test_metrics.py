"""The metrics: who may read them, which there are, few labels, and what transactions count."""

import re
import uuid
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client import REGISTRY

from scripts import alert_rules
from scripts.stack import places
from shop.concurrency.batching import Batcher, run_without_transaction
from shop.db import transactions
from shop.observability import bounded_counter
from shop.observability.bounded_counter import BoundedCounter
from shop.tests import metrics_catalogue as catalogue, tally
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.outages import database_away
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import ask
from shop.tests.test_batching import opened

TOKEN = "a-long-token-for-metrics"


@pytest.mark.django_db
def test_requests_from_this_machine_and_those_with_the_token_may_read_them(settings: LazySettings) -> None:
    answer = Client(REMOTE_ADDR="127.0.0.1").get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"# TYPE django_http_responses_total_by_status_view_method_total counter" in answer.content

    settings.METRICS_TOKEN = TOKEN
    elsewhere = Client(REMOTE_ADDR="192.0.2.1")
    assert elsewhere.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("token", "status", "code"), [(TOKEN, 401, "not_authenticated"), ("", 403, "permission_denied")]
)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", f"bearer{TOKEN}", "Bearer \xe9"])
def test_other_machines_without_the_token_are_refused(
    settings: LazySettings, token: str, status: int, code: str, header: str
) -> None:
    settings.METRICS_TOKEN = token

    refused = Client(REMOTE_ADDR="192.0.2.1").get("/metrics", headers={"Authorization": header})

    assert (refused.status_code, refused.json()["code"]) == (status, code)


def test_requests_through_a_proxy_on_this_machine_are_forbidden() -> None:
    forwarded = Client(REMOTE_ADDR="127.0.0.1").get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})

    assert forwarded.status_code == 403


@pytest.mark.django_db(transaction=True)
def test_without_a_database_the_counters_are_exposed_all_the_same() -> None:
    client = Client(REMOTE_ADDR="127.0.0.1")
    # What takes longer than a second to read, as it may on a busy machine, is left out of a scrape.
    wait_until(lambda: b"\nfirstcome_events_queued 0.0\n" in client.get("/metrics").content)

    with database_away():
        answer = client.get("/metrics")

    assert answer.status_code == 200
    assert b"django_http_responses_total_by_status_view_method_total" in answer.content
    # The counter of failed readings names gauges, too.
    assert b"\nfirstcome_events_queued " not in answer.content


PAGE = places.PROJECT / "docs" / "metrics.md"
TYPES = {"counter", "gauge", "histogram"}


def documented() -> list[tuple[str, str, tuple[str, ...]]]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", PAGE.read_text(), flags=re.MULTILINE)
    return [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows if kind in TYPES
    ]


def test_the_page_has_a_row_for_each_metric_and_none_besides() -> None:
    rows = documented()
    assert len({name for name, _, _ in rows}) == len(rows), "each once"
    defined = {
        definition.name: (definition.kind, set(definition.labels))
        for definition in catalogue.definitions().values()
        # What other tests have declared.
        if not definition.name.startswith("firstcome_test_")
    }
    shown = {name: (kind, set(labels)) for name, kind, labels in rows}
    recorded = {name for name in alert_rules.recorded() if name.startswith("firstcome_")}
    assert {name: shown[name] for name in shown.keys() - recorded} == defined
    assert recorded == {name for name in shown if _is_recorded(name)}


def _is_recorded(name: str) -> bool:
    return bool(re.search(rf"^\| `{name}` .*\| rule \|$", PAGE.read_text(), re.MULTILINE))


def test_every_metric_of_the_shop_in_the_registry_is_listed() -> None:
    catalogue.import_declarations()
    families = {family.name for family in REGISTRY.collect() if family.name.startswith("firstcome_")}
    assert families
    assert families <= {name.removesuffix("_total") for name in catalogue.definitions()}


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
    gate = opened(list)
    batcher: Batcher[int, int] = Batcher(
        gate, name="test_batches", linger_seconds=0.1, run=run_without_transaction
    )
    race([lambda number=number: batcher.submit(number) for number in range(20)])

    wait_until(lambda: sample("firstcome_batch_requests_count", batcher="test_batches") == len(gate.batches))
    assert sum(map(len, gate.batches)) == sample("firstcome_batch_requests_sum", batcher="test_batches") == 20
    for name in ("firstcome_batch_wait_seconds", "firstcome_batch_seconds"):
        assert sample(f"{name}_count", batcher="test_batches") == len(gate.batches)
        assert 0 <= sample(f"{name}_sum", batcher="test_batches") < 60


def test_past_the_limit_values_are_counted_together_and_known_ones_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_counter, "MAX_VALUES", 3)
    name = f"firstcome_test_{uuid.uuid4().hex}"
    counter = BoundedCounter(name, "Things.", "thing", ["outcome"])
    for number in range(10):
        counter.inc(number, "issued")
    counter.inc(1, "sold_out")
    counter.inc(9, "issued")

    [family] = [family for family in REGISTRY.collect() if family.name == name]
    assert {
        (sample.labels["thing"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    } == {
        ("0", "issued"): 1,
        ("1", "issued"): 1,
        ("2", "issued"): 1,
        ("other", "issued"): 8,
        ("1", "sold_out"): 1,
    }
