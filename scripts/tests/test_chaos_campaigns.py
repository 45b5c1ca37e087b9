"""The plans of `make chaos CAMPAIGN=…`: drawn by the seed, and counted."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from scripts.chaos import faults
from scripts.chaos.calls import Observations
from scripts.chaos.campaigns import small_disk
from scripts.chaos.campaigns.__main__ import Row, check_faults_were_met
from scripts.chaos.campaigns.plans import (
    CAMPAIGNS,
    DATABASE,
    GATEWAY,
    PROCESSES,
    QUICK_LONGEST_SECONDS,
    STORES,
)
from scripts.chaos.faults import Fault
from scripts.stack.instance import Instance
from shop.tests.racing import wait_until


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_seed_plans_the_same_faults_again(name: str) -> None:
    campaign = CAMPAIGNS[name]
    assert campaign.faults("1", is_quick=False) == campaign.faults("1", is_quick=False)
    assert campaign.faults("1", is_quick=False) != campaign.faults("2", is_quick=False)


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
