"""Alertmanager as it is configured: where alerts go, what inhibits them, and how it gets its addresses."""

import json
import re
import runpy
import time
import urllib.request
from datetime import UTC, datetime

import pytest
import yaml

from foundation.tests.case_tables import in_one_test
from scripts import alert_rules
from scripts.stack import children, ports, system_packages
from scripts.tests import programs


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    """The address of a running one, with the committed configuration and no receiver."""
    folder = tmp_path_factory.mktemp("alertmanager")
    configuration = runpy.run_path(str(alert_rules.OPS / "monitoring" / "alertmanager.py"))["configuration"]
    (folder / "alertmanager.yml").write_text(configuration(alert_rules.ALERTMANAGER.read_text(), {}))
    address = ports.HOST, ports.free()
    command = [
        system_packages.program("prometheus-alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder}",
        f"--web.listen-address={address[0]}:{address[1]}",
        "--cluster.listen-address=",
    ]
    with children.running(command, name="alertmanager", log=folder / "log", is_ready=address):
        yield f"http://{address[0]}:{address[1]}"


@pytest.mark.boots("Alertmanager and amtool")
@in_one_test("severity", ["page", "ticket"])
def test_an_alert_goes_to_the_receiver_of_its_severity(severity):
    test = ("config", "routes", "test", f"--config.file={alert_rules.ALERTMANAGER}", f"severity={severity}")
    receiver = programs.run([system_packages.program("amtool"), *test]).strip()
    assert receiver == {"page": "pager", "ticket": "tickets"}[severity]


def test_every_alert_that_inhibits_or_is_inhibited_exists():
    names = alert_rules.alerts().keys()
    named = set()
    rules = yaml.safe_load(alert_rules.ALERTMANAGER.read_text())["inhibit_rules"]
    matchers = " ".join(one for rule in rules for one in rule["source_matchers"] + rule["target_matchers"])
    for pattern in re.findall(r'alertname=~?"([^"]+)"', matchers):
        found = {name for name in names if re.fullmatch(pattern, name)}
        # Each alternative is an alert's name, or how names begin.
        for part in pattern.split("|"):
            assert any(name.startswith(part.removesuffix(".+")) for name in found), part
        named |= found
    assert {"DatabaseAway", "TargetDown", "ErrorBudgetBurn1h"} <= named


@pytest.mark.boots("Alertmanager and amtool")
@in_one_test(
    ("cause", "explained", "not_explained"),
    [
        ("DatabaseAway", "ErrorBudgetBurn1h", "LawBroken"),
        ("DatabaseAway", "LawUnchecked", "RedisAway"),
        ("TargetDown web", "MetricMissing", "EventsDead"),
        ("BeatSilent", "TargetDown beat", "TargetDown web"),
        ("IssuerSilent", "QueueNotMoving", "TasksNotMoving"),
        ("TargetDown worker", "TasksNotMoving", "ErrorRate"),
        ("RedisAway", "BrokerAway", "StockNegative"),
    ],
)
def test_what_another_alert_explains_is_not_sent(alertmanager, cause, explained, not_explained):
    mark = f"{time.monotonic_ns()}"
    send(alertmanager, mark, explained, not_explained)
    assert inhibited(alertmanager, mark) == {explained: False, not_explained: False}
    send(alertmanager, mark, cause)
    wanted = {explained: True, not_explained: False, cause: False}
    deadline = time.monotonic() + 10
    while (found := inhibited(alertmanager, mark)) != wanted and time.monotonic() < deadline:
        pass
    assert found == wanted
    send(alertmanager, mark, cause, explained, not_explained, is_over=True)


def send(url: str, mark: str, *alerts: str, is_over=False):
    """Each alert is a name, perhaps with a job."""
    over = {"endsAt": datetime.now(UTC).isoformat()} if is_over else {}
    named = [dict(zip(("alertname", "job"), alert.split(), strict=False)) for alert in alerts]
    body = [{"labels": labels | {"test": mark}, **over} for labels in named]
    request = urllib.request.Request(
        f"{url}/api/v2/alerts", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def inhibited(url: str, mark: str) -> dict[str, bool]:
    with urllib.request.urlopen(f'{url}/api/v2/alerts?filter=test="{mark}"', timeout=5) as answer:
        found = json.load(answer)
    named = ((" ".join(filter(None, map(one["labels"].get, ("alertname", "job")))), one) for one in found)
    return {name: one["status"]["state"] == "suppressed" for name, one in named}
