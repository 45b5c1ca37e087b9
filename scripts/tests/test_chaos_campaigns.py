"""The plans of `make chaos CAMPAIGN=…`: drawn by the seed, and counted."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from scripts.chaos import faults
from scripts.chaos.availability import Request
from scripts.chaos.calls import Observations
from scripts.chaos.campaigns import beside, small_disk, without_redis
from scripts.chaos.campaigns.__main__ import check_faults_were_met
from scripts.chaos.campaigns.month import campaign as month
from scripts.chaos.campaigns.network import links
from scripts.chaos.campaigns.plans import (
    CAMPAIGNS,
    DATABASE,
    GATEWAY,
    PROCESSES,
    QUICK_LONGEST_SECONDS,
    STORES,
)
from scripts.chaos.campaigns.rolling import rolls
from scripts.chaos.campaigns.rows import Row
from scripts.chaos.faults import Fault
from scripts.stack import ports, processes
from scripts.stack.instance import Instance
from shop.tests.racing import wait_until


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_seed_plans_the_same_faults_again(name: str) -> None:
    campaign = CAMPAIGNS[name]
    assert campaign.faults("1", is_quick=False) == campaign.faults("1", is_quick=False)
    assert campaign.faults("1", is_quick=False) != campaign.faults("2", is_quick=False)


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_has_a_planted_defect_that_it_must_find(name: str) -> None:
    campaign = CAMPAIGNS[name]
    # What is beside a campaign has a defect of its own.
    assert campaign.planted or campaign.planted_faults or campaign.beside is not beside.nothing


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_what_a_campaign_breaks_can_be_broken(name: str) -> None:
    campaign = CAMPAIGNS[name]
    for fault in [*campaign.faults("1", is_quick=False), *campaign.planted_faults]:
        # Releases and a month make their faults themselves.
        assert fault.sort in {"kill", "flush", rolls.REPLACE, month.NEXT_DAY, *faults.LASTING}
        if fault.sort in links.SORTS:
            assert fault.name in campaign.links


def test_the_settings_lead_through_the_proxy_of_each_link_and_no_other(tmp_path: Path) -> None:
    instance = Instance(home=tmp_path, port=8000, database="mariadb")
    with links.beside(instance, ("redis", "webhooks")) as settings:
        assert settings.keys() == {"REDIS_URL", "BROKER_URL", "WEBHOOK_LISTENER", "OWN_STORES"}
        assert settings["OWN_STORES"] == "redis"
        port = int(settings["WEBHOOK_LISTENER"].rpartition(":")[2])
        assert port != instance.port
        assert settings["WEBHOOK_LISTENER"] in " ".join(processes.command("gateway", instance, settings))
        assert ports.answers((ports.HOST, port))
    with links.beside(instance, ()) as settings:
        assert settings == {}


def test_each_process_of_the_shop_is_killed_20_times_and_once_in_a_quick_run() -> None:
    for is_quick, count in ((False, 20), (True, 1)):
        planned = Counter((one.sort, one.name) for one in PROCESSES.faults("1", is_quick=is_quick))
        assert planned == {("kill", name): count for name in ("web", "worker", "beat", "issuer")}


def test_a_quick_run_of_the_stores_makes_each_of_its_faults() -> None:
    quick, whole = (
        {(one.sort, one.name) for one in STORES.faults("1", is_quick=is_quick)} for is_quick in (True, False)
    )
    assert quick == whole


def test_the_stores_are_killed_with_the_broker_beside_them() -> None:
    planned = Counter((one.sort, one.name) for one in STORES.faults("1", is_quick=False))
    assert [planned["kill", name] for name in ("mariadb", "redis", "rabbitmq")] == [5, 10, 5]
    assert STORES.broker == "rabbitmq"


def test_the_gateway_is_away_for_two_minutes_and_for_seconds_in_a_quick_run() -> None:
    whole, quick = (
        {one.seconds for one in GATEWAY.faults("1", is_quick=is_quick) if one.sort == "down"}
        for is_quick in (False, True)
    )
    assert (whole, quick) == ({120.0}, {QUICK_LONGEST_SECONDS})


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


@pytest.mark.parametrize(
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


def test_a_row_is_a_line_of_the_table() -> None:
    assert str(Row("stores", 27, 900, 800, 0, 1, 4.04)) == "| stores | 27 | 900 | 800 | 0 | 1 | 4.0 s |"


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
