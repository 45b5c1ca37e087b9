"""The alerting rules: their unit tests can fail, the runbook has them, and their metrics exist."""

import itertools
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from scripts import check
from scripts.monitoring import expressions, promql, rules
from scripts.stack import places
from scripts.stack.programs import prometheus
from shop.observability import catalogue

ALERTS = {alert.name: alert for alert in rules.alerts()}
RUNBOOK = (places.PROJECT / "docs" / "runbook.md").read_text()
OF_EXPORTERS = {"up", "redis_up", "mysql_up"}
"""What alerts read beside the shop's own metrics: Prometheus' own, and the exporters' of Redis and MySQL."""
NOT_ALWAYS_THERE = {
    # Counters: there is no series before the first count.
    "firstcome_payments_total",
    "firstcome_partner_answers_total",
    "firstcome_requests_blocked_total",
    "django_http_responses_total_by_status_view_method_total",
    # Ages and queues that are left out while there is nothing of the kind.
    "firstcome_coupons_confirming_oldest_seconds",
    "firstcome_queue_oldest_ticket_seconds",
    "firstcome_sale_admission_age_seconds",
    "firstcome_reconciliation_differences",
    # Of a clock that was measured, whose age is always there.
    "firstcome_clock_offset_seconds",
    # Beside the age of the last audit of the same law.
    "firstcome_law_full_age_seconds",
    # Come with the database, whose absence is an alert by itself.
    "firstcome_database_threads_connected",
    "firstcome_database_max_connections",
    "firstcome_database_row_lock_wait_seconds_total",
    # Beside the threads of the same pools.
    "firstcome_pool_busy",
    "firstcome_pool_waiting",
}
"""The metrics whose absence is no fault, or shows in another metric's."""
every_alert = pytest.mark.parametrize("alert", ALERTS.values(), ids=list(ALERTS))


def test_every_name_is_used_once():
    assert len(ALERTS) == len(rules.alerts())
    assert len(ALERTS) > 30


@every_alert
def test_an_alert_says_what_it_means_and_where_to_read_on(alert: rules.Alert):
    assert alert.severity in {"page", "ticket"}
    assert alert.annotations.keys() == {"summary", "description", "runbook_url"}
    assert alert.annotations["runbook_url"] == f"docs/runbook.md#{alert.name.lower()}"


def test_the_runbook_has_a_section_for_every_alert_and_no_other():
    assert re.findall(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE) == list(dict.fromkeys(_sections()))
    assert {*_sections()} == ALERTS.keys()


def test_every_section_says_what_to_do():
    for name, text in zip(_sections(), re.split(r"^### \w+$", RUNBOOK, flags=re.MULTILINE)[1:], strict=True):
        text = text.partition("\n## ")[0]
        assert re.findall(r"^- \*\*(\w+)\*\*: ", text, flags=re.MULTILINE) == [
            "Means",
            "Look",
            "Do",
            "Clears",
        ], name


def test_the_runbooks_expressions_ask_for_metrics_that_exist():
    prose = re.sub(r"^```.*?^```", "", RUNBOOK, flags=re.DOTALL | re.MULTILINE)
    named = {
        name
        for code in re.findall(r"`([^`]+)`", prose)
        if not code.startswith("manage.py")
        for name in promql.metric_names(" ".join(code.split()))
        if name.startswith(("firstcome_", "django_http_", "slo:", "view:"))
    }
    assert len(named) > 10
    # Prose names a histogram by its base name.
    assert named <= _known() | catalogue.definitions().keys()


@every_alert
def test_unit_tests_see_it_quiet_then_firing_then_clear(alert: rules.Alert):
    timelines = [
        [bool(check["exp_samples"]) for check in test["promql_expr_test"]]
        for test in _unit_tests_of(alert.name)
    ]
    steps = [[fires for fires, _ in itertools.groupby(timeline)] for timeline in timelines]
    assert [False, True, False] in steps


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        (lambda expression: f"({expression}) unless on () vector(1)", lambda checks: any(checks)),
        # A vector without labels: an alert that fires however things are.
        (lambda expression: "vector(1)", lambda checks: not all(checks)),
    ],
    ids=["never", "always"],
)
def test_unit_tests_notice_alerts_that_fire_never_or_always(
    tmp_path: Path, change: Callable[[str], str], fails: Callable[[list[bool]], bool]
):
    folder = tmp_path / "prometheus"
    (folder / "alerts").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "recording.yml").write_text(rules.files()[0].read_text())
    for path in rules.files()[1:]:
        content = yaml.safe_load(path.read_text())
        for rule in content["groups"][0]["rules"]:
            rule["expr"] = change(rule["expr"])
        (folder / "alerts" / path.name).write_text(json.dumps(content))
    should_fail, failed = 0, 0
    for path in rules.unit_tests():
        copy = folder / "tests" / path.name
        content = yaml.safe_load(path.read_text())
        copy.write_text(json.dumps(content))
        ran = subprocess.run(
            [prometheus.program("promtool"), "test", "rules", str(copy)], capture_output=True, text=True
        )
        checks = [bool(one["exp_samples"]) for test in content["tests"] for one in test["promql_expr_test"]]
        should_fail += sum(fails([fires]) for fires in checks)
        failed += len(re.findall(r"^\s+exp:", ran.stdout + ran.stderr, flags=re.MULTILINE))
    assert should_fail > len(ALERTS)
    assert failed >= should_fail


def test_every_metric_of_a_rule_or_dashboard_is_exposed_by_a_process():
    asked_for = [*rules.expressions(), *_dashboards()]
    asked = set().union(*map(promql.metric_names, asked_for))
    assert len(asked) > 20
    assert asked - _known() == set()


def test_a_metric_that_vanishes_silences_no_alert():
    """MetricMissing, TargetDown or the alert itself notices it."""
    absent = set(re.findall(r"absent\((\w+)", " ".join(rules.expressions())))
    read = set().union(*(promql.metric_names(alert.expression) for alert in ALERTS.values()))
    own = {name for name in read if name.startswith(("firstcome_", "django_http_"))}
    assert own - NOT_ALWAYS_THERE - absent == set()
    assert NOT_ALWAYS_THERE - own - {"django_http_responses_total_by_status_view_method_total"} == set()


def test_a_missing_alert_names_each_metric_as_it_is():
    pairs = re.findall(
        r'label_replace\(absent\((\w+)\), "metric", "(\w+)"', ALERTS["MetricMissing"].expression
    )
    assert len(pairs) > 10
    assert [metric for metric, label in pairs if metric != label] == []


def test_the_check_names_the_line_that_installs_a_missing_promtool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(prometheus, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(check.Skipped, match=r"promtool is missing.* sudo apt-get install .*prometheus"):
        check.check_rules()


def _sections() -> list[str]:
    return re.findall(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)


def _unit_tests_of(name: str) -> list[dict]:
    tests = [test for path in rules.unit_tests() for test in yaml.safe_load(path.read_text())["tests"]]
    return [test for test in tests if f'alertname="{name}"' in test["promql_expr_test"][0]["expr"]]


def _known() -> set[str]:
    """What Prometheus has once the shop, the exporters and the recording rules are there."""
    names = rules.recorded() | OF_EXPORTERS | expressions.OF_OTHERS.keys()
    for definition in catalogue.definitions().values():
        parts = ("_bucket", "_sum", "_count") if definition.kind == "histogram" else ("",)
        names |= {f"{definition.name}{part}" for part in parts}
    return names


def _dashboards() -> list[str]:
    """The expressions of every dashboard."""
    files = [
        path for folder in ("ops", "scripts") for path in (places.PROJECT / folder).rglob("grafana/**/*.json")
    ]
    return [
        target["expr"]
        for path in files
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
