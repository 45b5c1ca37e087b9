"""The load of the soak for some seconds, without a fault: nothing fails, and every dashboard shows it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.chaos import dashboard_queries, trial
from scripts.chaos.soak import SOAK
from scripts.stack import instance as instances, ports

CALM = replace(SOAK, name="calm", has_faults=False)
SECONDS = 15


@pytest.mark.boots("another process of the shop")
def test_every_request_is_answered_and_every_query_of_the_dashboards_has_data(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    port = str(ports.free(instances.PORTS))
    instance = instances.choose(home=tmp_path, port=port, database=CALM.database)
    code = trial.run_trial(CALM, instance, SECONDS, "1")
    said = capsys.readouterr().out
    assert code == 0, said
    assert re.findall(r"(\d+) of (\d+) queries have data", said) == [
        (str(count), str(count))
        for count in (len(list(dashboard_queries.queries(board))) for board in dashboard_queries.dashboards())
    ]
    assert re.search(r"availability with outages: 100.000% of \d{2,} requests", said)
