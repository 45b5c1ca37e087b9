"""Grafana's dashboards: each panel is found and explained, and its queries are understood."""

import json
import subprocess
from pathlib import Path

import pytest

from scripts.chaos import dashboard_queries
from scripts.chaos.dashboard_queries import Span
from scripts.stack.programs import prometheus

SPAN = Span(start=0, end=3600, scrape_seconds=10)


def test_dashboards_and_panels_have_ids_of_their_own_and_panels_a_description():
    boards = dashboard_queries.dashboards()
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == 5
    assert [
        board["title"]
        for board in boards
        if len({panel["id"] for panel in board["panels"]}) != len(board["panels"])
    ] == []
    panels = [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels if not panel.get("description")] == []


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
