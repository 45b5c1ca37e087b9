"""The plans of `make chaos CAMPAIGN=…`, and what a restore to a moment may lose."""

import os
import shutil
from pathlib import Path

import pytest

from scripts.chaos import faults
from scripts.chaos.availability import Request
from scripts.chaos.calls import Answer, Call, Observations
from scripts.chaos.campaigns import beside, small_disk, without_redis
from scripts.chaos.campaigns.__main__ import check_faults_were_met
from scripts.chaos.campaigns.month import campaign as month
from scripts.chaos.campaigns.network import links
from scripts.chaos.campaigns.plans import CAMPAIGNS, DATABASE
from scripts.chaos.campaigns.restore import loss
from scripts.chaos.campaigns.rolling import rolls
from scripts.chaos.faults import Fault
from scripts.chaos.memory import Account, Product, RecordedCall, Setup
from scripts.cluster.drill import effects
from scripts.stack.instance import Instance
from shop.tests.case_tables import in_one_test
from shop.tests.racing import wait_until


@in_one_test("name", CAMPAIGNS)
def test_a_campaign_breaks_what_can_be_broken_and_has_a_planted_defect_that_it_must_find(name: str) -> None:
    campaign = CAMPAIGNS[name]
    # What is beside a campaign has a defect of its own.
    assert campaign.planted or campaign.planted_faults or campaign.beside is not beside.nothing
    for fault in [*campaign.faults("1", is_quick=False), *campaign.planted_faults]:
        # Releases and a month make their faults themselves.
        assert fault.sort in {"kill", "flush", rolls.REPLACE, month.NEXT_DAY, *faults.LASTING}
        if fault.sort in links.SORTS:
            assert fault.name in campaign.links


def test_faults_that_no_request_has_met_are_a_finding() -> None:
    seen = Observations()
    check_faults_were_met(DATABASE, seen)
    assert seen.findings == ["no request was answered 503 unavailable: the faults had no effect"]
    met = Observations()
    met.count("503 unavailable", 0.1)
    check_faults_were_met(DATABASE, met)
    assert met.findings == []


def record_order(seen: Observations, result: str, began: float) -> None:
    seen.measured.requests.append(Request(began, began + 0.1, "POST", "/orders", result))


@in_one_test(
    ("result", "findings"),
    [("201", []), ("503 unavailable", ["while Redis was away none of 2 requests of /orders was answered"])],
)
def test_orders_that_are_all_refused_while_redis_is_away_are_a_finding(
    result: str, findings: list[str]
) -> None:
    seen = Observations()
    assert without_redis.is_outage(Fault("down", "redis", 1))
    assert not without_redis.is_outage(Fault("flush", "redis", 1))
    seen.record_outage(10, 12)
    record_order(seen, "201", began=9)
    record_order(seen, "503 unavailable", began=10.5)
    record_order(seen, result, began=11)
    without_redis.check(seen)
    assert seen.findings == findings


def test_no_answer_and_every_5xx_but_503_are_failed_requests() -> None:
    good = ["201", "202", "402 payment_declined", "409 sold_out", "503 unavailable"]
    bad = ["no answer", "500 internal_error", "502 partner_failed", "599 not_json"]
    requests = [Request(0.0, 1.0, "POST", "/orders", text) for text in good + bad]
    assert rolls.failures(requests) == dict.fromkeys((f"POST /orders: {one}" for one in bad), 1)


@pytest.mark.boots("mount")
@pytest.mark.skipif(os.getuid() != 0, reason="mounting a file system takes root")
def test_a_disk_that_is_full_refuses_rows_and_is_free_again_afterwards(tmp_path: Path) -> None:
    instance = Instance(home=tmp_path, port=1, database="mariadb")
    for folder in (instance.run, instance.data):
        folder.mkdir(parents=True)
    with small_disk.beside(instance, 256):
        rows = instance.mariadb().data / "rows"
        with faults.lasting(Fault("fill the disk of", "mariadb", 1), instance):
            wait_until(lambda: shutil.disk_usage(rows.parent).free == 0)
            with pytest.raises(OSError, match="No space left"):
                rows.write_bytes(b"x")
        rows.write_bytes(b"x")
        assert (rows.parent / "mysql").is_dir()
    assert not rows.exists()


MOMENT, LOST_AT = 100.0, 106.0
NOTHING = {kind: set[str]() for kind in effects.TABLES}


def order(order_id: str, answered_at: float, *, key: str = "a-key") -> RecordedCall:
    call = Call("POST", "/orders", "token", {"items": []}, key)
    return RecordedCall("order", call, Answer(201, {"id": order_id}), answered_at)


def setup(*calls: RecordedCall) -> Setup:
    return Setup(Account(0, "staff"), [Account(1, "token", calls=list(calls))], [], [], Product(1, 10))


def compare(calls: Setup, *stored: str) -> loss.Loss:
    rows = NOTHING | {"order": set(stored)}
    return loss.compare(calls, rows, before=NOTHING, moment=MOMENT, lost_at=LOST_AT)


@in_one_test(
    ("answered", "stored", "finding", "forgotten"),
    [
        ({"early": 99.9, "late": 100.1}, ["late"], "early is not on the restored database", 0),
        # What was acknowledged after the moment, and is lost, is measured.
        ({"early": 99.9, "late": 100.0, "later": 105.9}, ["early", "late"], "", 1),
        ({"after": LOST_AT + 20}, [], "after is not on the restored database", 0),
        ({"known": 99.0}, ["known", "twice"], "twice on the restored database was in no answer", 0),
        ({"known": 101.0}, ["known", "twice"], "twice on the restored database was in no answer", 0),
        ({"known": 120.0}, ["known", "twice"], "twice on the restored database was in no answer", 0),
    ],
)
def test_what_a_restore_to_a_moment_lost_or_made_twice_is_found(
    answered: dict[str, float], stored: list[str], finding: str, forgotten: int
):
    found = compare(setup(*(order(name, at) for name, at in answered.items())), *stored)
    assert found.findings == ([f"order {finding}"] if finding else [])
    kept = sum(not MOMENT <= at <= LOST_AT for at in answered.values())
    assert (found.forgotten["order"], found.acknowledged) == (forgotten, kept)
