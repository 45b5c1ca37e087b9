"""The metrics of each kind of process: who may read them, which there are, and sums over processes."""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import urllib3
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client import REGISTRY

from accounts.tests.clients import problem_of
from coupons.metrics import counters
from foundation.concurrency.batching import Batcher, run_without_transaction
from foundation.db import transactions
from foundation.observability import bounded_counter, request_metrics
from foundation.observability.bounded_counter import BoundedCounter
from foundation.operations import shared_counts
from foundation.operations.shared_counts import Sharing
from foundation.tests import metrics_catalogue as catalogue, tally
from foundation.tests.live import serving, workers_of
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race_each, wait_until
from foundation.tests.second_connection import another_connection, ask
from foundation.tests.second_process import another_process, environment, read_line, send
from foundation.tests.test_batching import opened
from foundation.tests.waiting import in_background, waiting_at
from scripts import alert_rules
from scripts.stack import children, places, ports

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-long-token-for-metrics"


def test_requests_from_this_machine_but_for_its_proxys_and_those_with_the_token_may_read_them(settings):
    here = Client(REMOTE_ADDR="127.0.0.1")
    assert here.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403
    answer = here.get("/metrics")
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
def test_other_machines_without_the_token_are_refused(settings, token, status, code, header):
    settings.METRICS_TOKEN = token

    refused = Client(REMOTE_ADDR="192.0.2.1").get("/metrics", headers={"Authorization": header})

    assert problem_of(refused) == (status, code)


def test_the_page_has_a_row_for_each_metric_and_none_besides():
    page = (places.PROJECT / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \| (counter|gauge|histogram) \|([^|]*)\|", page)
    assert len({name for name, _, _ in rows}) == len(rows), "each once"
    defined = {
        definition.name: (definition.kind, set(definition.labels))
        for definition in catalogue.definitions().values()
        # What other tests have declared.
        if not definition.name.startswith("firstcome_test_")
    }
    shown = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    recorded = {
        name for rule in alert_rules.rules() if (name := rule.get("record", "")).startswith("firstcome_")
    }
    assert {name: shown[name] for name in shown.keys() - recorded} == defined
    assert recorded == {name for name in shown if re.search(rf"(?m)^\| `{name}` .*\| rule \|$", page)}


def test_every_metric_of_the_shop_in_the_registry_is_listed():
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
def test_a_retry_is_counted_by_its_reason(counting, number, reason):
    before, errors = retried(), iter([OperationalError(number, "again"), None])

    def work():
        if error := next(errors):
            raise error
        return 1

    assert transactions.run(work, transactions.REPEATABLE) == 1
    assert retried() == before | {reason: before[reason] + 1}


def test_a_commit_whose_reply_is_lost_is_counted_once(counting, tmp_path):
    before = sample("firstcome_commits_unknown_total")
    with losing_reply_to_commit(tmp_path) as is_lost:
        add_one = "UPDATE tally SET value = value + 1 WHERE id = %s"
        transactions.run(lambda: ask(connection, add_one, tally.HOT), transactions.ONCE)
        assert is_lost.is_set()
    assert sample("firstcome_commits_unknown_total") == before + 1


def test_a_batch_is_counted_once_with_its_requests():
    gate = opened(list)
    batcher = Batcher(gate, name="test_batches", linger_seconds=0.1, run=run_without_transaction)
    race_each(batcher.submit, range(20))

    wait_until(lambda: sample("firstcome_batch_requests_count", batcher="test_batches") == len(gate.batches))
    assert sum(map(len, gate.batches)) == sample("firstcome_batch_requests_sum", batcher="test_batches") == 20
    for name in ("firstcome_batch_wait_seconds", "firstcome_batch_seconds"):
        assert sample(f"{name}_count", batcher="test_batches") == len(gate.batches)
        assert 0 <= sample(f"{name}_sum", batcher="test_batches") < 60


def test_past_the_limit_values_are_counted_together_and_known_ones_by_themselves(monkeypatch):
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


# Counts of all processes, by second: brought together over Redis while they are read, and only then

ANOTHER = """
from foundation.observability import request_metrics
from foundation.operations.shared_counts import Sharing

sharing = Sharing()
sharing.run_once(second=99)
request_metrics.count_refusal("coupons.api.Coupons", 409, "sold_out")
print("ready", flush=True)
sys.stdin.readline()
print(sharing.run_once(second=100), flush=True)
sys.stdin.readline()
"""


@pytest.mark.boots("another process of the shop")
def test_what_two_processes_count_in_a_second_is_added_up(monkeypatch):
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
        assert sharing.run_once(second=100)
        send(process, "share")
        assert read_line(process) == "True"
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


def test_nothing_is_shared_while_nothing_is_read(redis_server):
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


def test_a_pass_that_missed_a_second_shares_nothing_and_the_next_one_a_second():
    """It shared both seconds as one: a slow Redis doubled the rates on the board."""
    shared_counts.read([3])
    sharing, shared = Sharing(), {}
    for second in (3, 4, 6, 7):
        request_metrics.count_refusal("orders.api.Orders", 409, "conflict")
        shared[second] = sharing.run_once(second=second)

    assert shared == {3: False, 4: True, 6: False, 7: True}
    found = shared_counts.read([4, 5, 6, 7]) or {}
    assert {second: counts[("refusals", "conflict")] for second, counts in found.items()} == {4: 1, 7: 1}


def test_without_redis_nothing_is_known_and_nothing_raised(own_redis):
    assert shared_counts.read([1]) == {}
    own_redis.kill()
    assert shared_counts.read([1]) is None
    assert not Sharing().run_once(second=1)


# Ports of workers, issuer and beat, and several web processes

CELERY = (sys.executable, "-m", "celery", "-A", "shop")
WORKER = (*CELERY, "worker", "--pool", "threads", "--concurrency", "3")
WORKER += ("--without-gossip", "--without-mingle")
ISSUER = (sys.executable, "-m", "django", "run_issuer")


class Process:
    """A process of the shop with a port for its metrics."""

    child: "subprocess.Popen[bytes]"

    def __init__(self, port, log):
        self.port, self.log = port, log
        self.address = f"http://{ports.HOST}:{port}"

    def get(self, path="/metrics", method="GET", **headers: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, f"{self.address}{path}", headers=headers, retries=False, timeout=10)

    def answers(self) -> bool:
        try:
            self.get("/")
        except urllib3.exceptions.HTTPError:
            return False
        return True

    def value(self, sample: str) -> float | None:
        return value(self.get().data.decode(), sample)


def value(text: str, sample: str) -> float | None:
    """The value of a sample, which is a name with its labels."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def sum_of(text: str, name: str) -> float:
    return sum(map(float, re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)))


@contextmanager
def running(folder: Path, *command: str, port=0, **settings: str) -> Iterator[Process]:
    """A process as in production, once it serves its metrics. `settings` are environment variables."""
    port = port or ports.free()
    own = environment(METRICS_PORT=str(port), DJANGO_SETTINGS_MODULE="shop.settings", **settings)
    log = folder / "process.log"
    process = Process(port, log)
    with children.running(
        command, name="process", log=log, is_ready=process.answers, environment=own
    ) as process.child:
        yield process


@pytest.mark.boots("a worker")
def test_a_worker_exposes_itself_and_no_state_and_again_after_it_was_killed(tmp_path):
    port = ports.free()
    with running(tmp_path, *WORKER, port=port) as worker:
        text = worker.get().data.decode()
        assert value(text, 'firstcome_pool_threads{pool="tasks"}') == 3
        assert value(text, "firstcome_processes") == 1
        assert (value(text, "firstcome_processor_seconds_total") or 0) > 0
        assert (value(text, "firstcome_resident_bytes") or 0) > 2**20
        assert value(text, "firstcome_clock_offset_seconds") is not None
        assert sum_of(text, "firstcome_gc_pause_seconds_count") > 0
        assert "firstcome_events_queued" not in text
        worker.child.kill()
        worker.child.wait()
        with running(tmp_path, *WORKER, port=port) as another:
            assert another.value("firstcome_processes") == 1


@pytest.mark.boots("a Python process")
def test_access_to_a_port_of_metrics_is_as_to_the_web_server(tmp_path):
    """`TRUSTED_PROXIES` makes requests from this machine such as come through a proxy."""
    with running(tmp_path, *ISSUER, METRICS_TOKEN=TOKEN, TRUSTED_PROXIES="1") as issuer:
        assert issuer.get().status == 401
        assert issuer.get(Authorization="Bearer wrong").status == 401
        granted = issuer.get(Authorization=f"Bearer {TOKEN}", Host="172.18.0.9:9101")
        assert (granted.status, granted.headers["Content-Type"][:10]) == (200, "text/plain")
        head = issuer.get(method="HEAD", Authorization=f"Bearer {TOKEN}")
        assert (head.status, head.data) == (200, b"")
        assert int(head.headers["Content-Length"]) > 1000
        assert issuer.get(method="POST", Authorization=f"Bearer {TOKEN}").status == 405
        assert issuer.get("/admin/", Authorization=f"Bearer {TOKEN}").status == 404


@pytest.mark.boots("a Python process")
@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_other_addresses_reach_the_metrics_only_where_a_setting_says_so(tmp_path, host):
    """127.0.0.2 is an address of this machine too, and not the one that it listens on by itself."""
    own = {"METRICS_TOKEN": TOKEN} | ({"METRICS_HOST": host} if host else {})
    expected = nullcontext() if host else pytest.raises(ConnectionRefusedError)
    with running(tmp_path, *ISSUER, **own) as issuer, expected:
        socket.create_connection(("127.0.0.2", issuer.port), timeout=5).close()


@pytest.mark.boots("a Python process")
def test_without_a_token_requests_must_come_from_this_machine_and_slow_ones_and_a_taken_port_stop_nothing(
    tmp_path,
):
    with running(tmp_path, *ISSUER) as issuer:
        assert issuer.get().status == 200
        assert issuer.get(Host="attacker.example").status == 403
        assert issuer.get(**{"X-Forwarded-For": "192.0.2.1"}).status == 403
        wait_until(lambda: (issuer.value("firstcome_issuer_last_pass_seconds") or 60) < 5, seconds=20)
        clients = [socket.create_connection((ports.HOST, issuer.port)) for _ in range(60)]
        for client in clients:
            client.send(b"G")  # a head that never ends
        assert issuer.answers()
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert issuer.get().status == 200
        assert "Traceback" not in issuer.log.read_text()
        assert "Exception occurred" not in issuer.log.read_text()
        folder = tmp_path / "second"
        folder.mkdir()
        alive = folder / "alive"
        with running(folder, *ISSUER, "--alive", str(alive), port=issuer.port) as second:
            wait_until(alive.exists, seconds=30)
            assert "metrics are not served" in second.log.read_text()
            assert second.child.poll() is None


def test_web_tells_how_long_a_dead_beat_has_been_silent(own_redis, tmp_path):
    redis = {"REDIS_URL": own_redis.url, "BROKER_URL": own_redis.url}
    with serving(tmp_path, workers=1, **redis) as web:

        def silent_seconds():
            text = urllib3.request("GET", f"{web.address}/metrics", retries=False).data.decode()
            return value(text, "firstcome_beat_last_tick_seconds")

        assert silent_seconds() is None
        folder = tmp_path / "beat"
        folder.mkdir()
        command = (*CELERY, "beat", "--schedule", str(folder / "schedule"), "--pidfile=")
        with running(folder, *command, **redis) as beat:
            wait_until(lambda: (beat.value("firstcome_beat_last_tick_seconds") or 60) < 3, seconds=30)
            assert beat.value("firstcome_events_queued") == 0
            assert beat.value("firstcome_broker_up") == 1
            queue = 'firstcome_broker_queue_messages{queue="celery"}'
            wait_until(lambda: (beat.value(queue) or 0) > 0, seconds=20)
            beat.child.kill()
            beat.child.wait()
        wait_until(lambda: (silent_seconds() or 0) > 5, seconds=30)


@pytest.mark.boots("a web server")
def test_two_web_processes_are_summed_and_a_dead_one_leaves_its_counts(tmp_path):
    (tmp_path / "metrics").mkdir()
    (earlier := tmp_path / "metrics" / "counter_of-an-earlier-server.db").touch()
    settings = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    with serving(tmp_path, workers=2, **settings) as web:
        assert not earlier.exists()

        def exposed():
            return urllib3.request("GET", f"{web.address}/metrics", retries=False).data.decode()

        for _ in range(20):
            # On a new connection each, so that both processes get some.
            refused = urllib3.request("GET", f"{web.address}/api/v1/orders", retries=False)
            assert refused.status == 401
        wait_until(lambda: value(exposed(), "firstcome_processes") == 2)
        before = exposed()
        assert sum_of(before, "firstcome_http_refusals_total") == 20
        labels = 'code="not_authenticated",status="401",view="orders.api.Orders"'
        assert value(before, f"firstcome_http_refusals_total{{{labels}}}") == 20
        assert value(before, 'firstcome_pool_busy{pool="probes"}') is not None

        for _ in range(2):
            before = workers_of(web.child.pid)
            os.kill(min(before), signal.SIGKILL)
            wait_until(lambda before=before: len(workers_of(web.child.pid) | before) == 3, seconds=30)
            wait_until(lambda: value(exposed(), "firstcome_processes") == 2, seconds=30)
            assert sum_of(exposed(), "firstcome_http_refusals_total") == 20
        # Each worker has a slot, and so has its replacement: no number of restarts adds more files.
        slots = {path.stem.rpartition("_")[2] for path in (tmp_path / "metrics").iterdir()}
        assert slots <= {"manager", "0", "1", "2", "3"}


@pytest.mark.boots("a web server")
def test_metrics_are_read_by_address_with_the_token_alone_and_while_all_threads_are_busy(tmp_path):
    """Prometheus calls containers by addresses that are in no setting."""
    token, by_address = {"Authorization": f"Bearer {TOKEN}"}, {"Host": "172.18.0.7:8000"}
    settings = {"METRICS_TOKEN": TOKEN, "WEB_THREADS": "2"}
    with serving(tmp_path, workers=1, **settings) as web, another_connection() as other:
        assert get(f"{web.address}/metrics", **token, **by_address).status == 200
        assert get(f"{web.address}/metrics", **by_address).status == 400
        assert get(f"{web.address}/readyz", **token, **by_address).status == 400

        ask(other, "LOCK TABLES inventory_product WRITE")
        # What arrives before a reading of the list begins is answered by it, and waits for no thread.
        calls = [in_background(lambda: get(f"{web.address}/api/v1/products"))]
        wait_until(lambda: waiting_at("%inventory_product%") > 0)
        calls += [in_background(lambda: get(f"{web.address}/api/v1/products")) for _ in range(7)]

        def waiting():
            answer = get(f"{web.address}/metrics", **token)
            assert answer.status == 200
            return sum_of(answer.data.decode(), "firstcome_pool_waiting")

        # The other calls may be on their way to the process still.
        wait_until(lambda: waiting() > 0)
        assert not any(call.done() for call in calls)
        ask(other, "UNLOCK TABLES")
        assert {call.result(timeout=30).status for call in calls} == {200}


def get(url: str, **headers: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", url, headers=headers, retries=False, timeout=20)
