"""Grafana's dashboards: generated from the metrics that exist, committed as generated, and understood."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.chaos import dashboard_queries
from scripts.chaos.dashboard_queries import PanelQuery, Span
from scripts.monitoring import dashboards, expressions
from scripts.monitoring.expressions import UnknownMetric
from scripts.stack.programs import prometheus

SPAN = Span(start=0, end=3600, scrape_seconds=10)
HTTP = "django_http_responses_total_by_status_view_method_total"
LATENCY = "django_http_requests_latency_seconds_by_view_method"


def test_the_committed_files_are_those_that_the_definitions_generate():
    assert list(dashboards.differences(dashboards.generate(), dashboards.FOLDER)) == []
    boards = dashboard_queries.dashboards()
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == 5
    assert [
        board["title"]
        for board in boards
        if len({panel["id"] for panel in board["panels"]}) != len(board["panels"])
    ] == []


def test_a_file_that_is_changed_missing_or_too_many_is_a_difference(tmp_path: Path):
    files = {"a.json": "one\n", "b.json": "two\n"}
    dashboards.write_files(files, tmp_path)
    assert list(dashboards.differences(files, tmp_path)) == []
    (tmp_path / "a.json").write_text("other\n")
    (tmp_path / "b.json").unlink()
    (tmp_path / "c.json").write_text("old\n")
    found = list(dashboards.differences(files, tmp_path))
    assert {"-other", "+one", "+two", "-old"} <= set(found)
    dashboards.write_files(files, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_what_does_not_exist_is_refused_by_its_name():
    cases: list[tuple[Any, str]] = [
        (lambda: expressions.rate("firstcome_gone_total"), "no metric is called firstcome_gone_total"),
        (lambda: expressions.rate(HTTP, "colour"), f"{HTTP} has no label colour: it has status"),
        (lambda: expressions.rate(HTTP, where={"code": "x"}), f"{HTTP} has no label code"),
        (lambda: expressions.rate(HTTP, unless={"code": "x"}), f"{HTTP} has no label code"),
        (lambda: expressions.rate(LATENCY), f"{LATENCY} is a histogram and no counter"),
        (lambda: expressions.quantile(0.5, HTTP), f"{HTTP} is a counter and no histogram"),
        (lambda: expressions.state("firstcome_events_dead", {"kind": "x"}), "it has none"),
        (lambda: expressions.total("mysql_gone"), "no metric is called mysql_gone"),
        (lambda: expressions.recorded("slo:gone"), "no recording rule is called slo:gone"),
    ]
    for make, says in cases:
        with pytest.raises(UnknownMetric, match=says):
            make()


def test_expressions_say_what_prometheus_is_to_compute():
    where = {"view": "orders.*"}
    assert expressions.rate(HTTP, "status", where=where, unless={"status": "2.."}) == (
        f'sum by (status) (rate({HTTP}{{view=~"orders.*", status!~"2.."}}[$__rate_interval]))'
    )
    assert expressions.quantile(0.9, LATENCY, "view", over="5m") == (
        f"histogram_quantile(0.9, sum by (le, view) (rate({LATENCY}_bucket[5m])))"
    )
    assert expressions.state("firstcome_events_dead") == "max without (instance, job) (firstcome_events_dead)"


@pytest.mark.boots("promtool")
def test_prometheus_understands_every_query(tmp_path: Path):
    """As the expressions of recording rules, which its own tool checks."""
    found = [
        dashboard_queries.expression_of(query, board, SPAN)
        for board in dashboard_queries.dashboards()
        for query in dashboard_queries.queries(board)
    ]
    rules = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(found)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    command = [prometheus.program("promtool"), "check", "rules", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(found)} rules found" in checked.stdout


def test_variables_are_replaced_as_grafana_does():
    board = {"templating": {"list": [{"name": "campaign", "allValue": ".*"}]}}
    query = PanelQuery("d", "p", 'rate(x{campaign=~"$campaign"}[$__rate_interval]) / $__interval * $__range')
    sent = dashboard_queries.expression_of(query, board, Span(start=0, end=7200, scrape_seconds=10))
    # 7,200 s by 500 points is a point every 14.4 s; four scrapes are 40 s.
    assert sent == 'rate(x{campaign=~".*"}[40000ms]) / 14400ms * 7200000ms'
    long = Span(start=0, end=86_400, scrape_seconds=10)
    assert long.rate_interval == pytest.approx(86_400 / 500 + 10)
