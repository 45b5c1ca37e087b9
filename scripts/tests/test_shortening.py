"""The shortened rules: durations alone change, and Prometheus takes what comes out."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.monitoring import rules, shortening
from scripts.stack.programs import prometheus


@pytest.mark.boots("promtool")
def test_the_rules_differ_in_durations_alone(tmp_path: Path):
    files = shortening.write_rules(tmp_path)
    assert [path.name for path in files] == [path.name for path in rules.files()]
    for before, after in zip(rules.files(), files, strict=True):
        assert _without_durations(before) == _without_durations(after)
    command = [prometheus.program("promtool"), "check", "rules", *map(str, files)]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_alertmanagers_routes_differ_in_waits_alone():
    before = yaml.safe_load(rules.ALERTMANAGER.read_text())
    after = yaml.safe_load(shortening.alertmanager_configuration())
    assert after["route"]["group_wait"] == "1s"
    assert after["route"]["routes"][0]["repeat_interval"] == "60s"
    for one in (before, after):
        for route in (one["route"], *one["route"]["routes"]):
            for name in shortening.WAITS:
                del route[name]
    assert before == after


def _without_durations(path: Path) -> list[dict]:
    found = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    for rule in found:
        rule.pop("for", None)
        rule["expr"] = re.sub(r"\[\w+\]", "[]", rule["expr"])
    return found
