"""The shortened rules: durations alone change, and Prometheus takes what comes out."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.monitoring import rules, shortening
from scripts.stack.programs import prometheus

DURATIONS = {"30s": 30, "5m": 300, "1h30m": 5_400, "3d": 259_200}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items(), ids=list(DURATIONS))
def test_a_duration_in_seconds(text: str, seconds: int):
    assert shortening.seconds(text) == seconds


def test_what_is_no_duration_is_refused():
    with pytest.raises(ValueError, match="fortnight"):
        shortening.seconds("fortnight")


def test_waits_become_a_sixtieth_and_a_second_at_least():
    assert [shortening.shorten_wait(text) for text in ("10m", "1m", "30s")] == ["10s", "1s", "1s"]


def test_ranges_are_bounded_and_thresholds_stay():
    expression = "avg_over_time(x[3d]) > 3600 and rate(y[5m]) > 14.4 * 0.001 or z[15m] == 300"
    shortened = "avg_over_time(x[20s]) > 3600 and rate(y[10s]) > 14.4 * 0.001 or z[15s] == 300"
    assert shortening.shorten_ranges(expression) == shortened


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
