"""Grafana's dashboards and the alerting rules: explained, understood, and their metrics exist."""

import itertools
import json
import re

import pytest
import yaml

from foundation.tests import metrics_catalogue as catalogue
from lab.stack import prometheus
from lab.tests import promql
from scripts import alert_rules
from scripts.stack import places, system_packages
from scripts.tests import programs


@pytest.mark.boots("promtool")
def test_prometheus_understands_every_query(tmp_path):
    """As the expressions of recording rules, which its own tool checks."""
    found = [
        expression for board in prometheus.dashboards() for _, expression in prometheus.queries(board, 3600)
    ]
    rules = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(found)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    checked = programs.run([system_packages.program("promtool"), "check", "rules", str(file)])
    assert f"{len(found)} rules found" in checked


ALERTS = alert_rules.alerts()
RUNBOOK = (places.PROJECT / "docs" / "runbook.md").read_text()
OF_EXPORTERS = {"up", "redis_up", "mysql_up"}
"""What alerts read beside the shop's own metrics: Prometheus' own, and the exporters' of Redis and MySQL."""
OF_DASHBOARDS = re.compile(r"mysql_(?:global|slave|info_schema)_\w+|redis_\w+")
"""What dashboards read of these exporters; the soak sees that each has data."""
OF_RECORDED_AND_EXPORTERS = {"method", "slo", "state", "view"}
"""Labels of recorded series, and of the exporters'."""
NOT_ALWAYS_THERE = {
    # Counters: there is no series before the first count.
    "firstcome_payments_total",
    "firstcome_staff_orders_total",
    "firstcome_saga_steps_total",
    "firstcome_partner_answers_total",
    "firstcome_requests_blocked_total",
    "django_http_responses_total_by_status_view_method_total",
    # Ages and queues that are left out while there is nothing of the kind.
    "firstcome_coupons_confirming_oldest_seconds",
    "firstcome_queue_oldest_ticket_seconds",
    "firstcome_sale_admission_age_seconds",
    "firstcome_reconciliation_differences",
    "firstcome_points_granted_today",
    "firstcome_campaign_discounts_amount",
    "firstcome_stock_available",
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


def test_every_alert_has_its_section_in_the_runbook_and_no_other_has_one():
    assert len(ALERTS) == sum("alert" in rule for rule in alert_rules.rules()) > 30
    assert {*re.findall(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)} == ALERTS.keys()
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} <= {"page", "ticket"}
    assert [
        name
        for name, rule in ALERTS.items()
        if rule["annotations"].get("runbook_url") != f"docs/runbook.md#{name.lower()}"
    ] == []


def test_the_runbooks_expressions_ask_for_metrics_that_exist():
    prose = re.sub(r"^```.*?^```", "", RUNBOOK, flags=re.DOTALL | re.MULTILINE)
    named = {
        name
        for code in re.findall(r"`([^`]+)`", prose)
        if not code.startswith("manage ")
        for name in promql.metric_names(" ".join(code.split()))
        if name.startswith(("firstcome_", "django_http_", "slo:", "view:"))
    }
    assert len(named) > 10
    # Prose names a histogram by its base name.
    assert named <= _known() | catalogue.definitions().keys()


def test_unit_tests_see_each_alert_quiet_then_firing_then_clear():
    tests = [test for path in alert_rules.UNIT_TESTS for test in yaml.safe_load(path.read_text())["tests"]]

    def is_seen(name):
        timelines = [
            [bool(check["exp_samples"]) for check in test["promql_expr_test"]]
            for test in tests
            if f'alertname="{name}"' in test["promql_expr_test"][0]["expr"]
        ]
        return [False, True, False] in [[fires for fires, _ in itertools.groupby(one)] for one in timelines]

    assert [name for name in ALERTS if not is_seen(name)] == []


def test_every_metric_of_a_rule_or_dashboard_is_exposed_by_a_process():
    asked_for = [*(rule["expr"] for rule in alert_rules.rules()), *_dashboards()]
    asked = set().union(*map(promql.metric_names, asked_for))
    assert len(asked) > 20
    assert {name for name in asked - _known() if not OF_DASHBOARDS.fullmatch(name)} == set()


def test_every_label_in_a_dashboard_is_one_of_its_metrics():
    labels = {name: set(one.labels) for name, one in catalogue.definitions().items()}
    unknown = []
    for expression in _dashboards():
        names = promql.metric_names(expression)
        known = {"instance", "job", "le", *OF_RECORDED_AND_EXPORTERS}.union(
            *(labels.get(re.sub("_(?:bucket|sum|count)$", "", name), labels.get(name, ())) for name in names)
        )
        lists = " ".join(re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression))
        named = {*re.findall(r"\w+", lists), *re.findall(r'(\w+)\s*[=!]~?\s*"', expression)}
        unknown += [(label, expression) for label in named - known]
    assert unknown == []


def test_a_metric_that_vanishes_silences_no_alert():
    """MetricMissing, TargetDown or the alert itself notices it."""
    absent = set(re.findall(r"absent\((\w+)", " ".join(rule["expr"] for rule in alert_rules.rules())))
    read = set().union(*(promql.metric_names(rule["expr"]) for rule in ALERTS.values()))
    own = {name for name in read if name.startswith(("firstcome_", "django_http_"))}
    assert own - NOT_ALWAYS_THERE - absent == set()
    assert NOT_ALWAYS_THERE - own - {"django_http_responses_total_by_status_view_method_total"} == set()
    pairs = re.findall(r'label_replace\(absent\((\w+)\), "metric", "(\w+)"', ALERTS["MetricMissing"]["expr"])
    assert len(pairs) > 10
    assert [metric for metric, label in pairs if metric != label] == []


def _known():
    """What Prometheus has once the shop, the exporters and the recording rules are there."""
    names = {rule["record"] for rule in alert_rules.rules() if "record" in rule} | OF_EXPORTERS
    for definition in catalogue.definitions().values():
        parts = ("_bucket", "_sum", "_count") if definition.kind == "histogram" else ("",)
        names |= {f"{definition.name}{part}" for part in parts}
    return names


def _dashboards():
    files = (places.PROJECT / "ops").rglob("grafana/**/*.json")
    return [
        target["expr"]
        for path in files
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
