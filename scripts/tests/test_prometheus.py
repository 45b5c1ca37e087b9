"""Prometheus beside a stack: it scrapes, evaluates rules, answers queries, and says what it lacks."""

import http.server
import json
import threading
import time
from pathlib import Path

import pytest

from scripts.stack import SetupError
from scripts.stack.programs import prometheus
from scripts.tests.simulator import wait_until

pytestmark = pytest.mark.boots("Prometheus")

RULES = {
    "groups": [
        {
            "name": "test",
            "rules": [
                {"record": "shop:doubled", "expr": "2 * firstcome_example"},
                {"alert": "ExampleHigh", "expr": "firstcome_example > 40"},
            ],
        }
    ]
}


@pytest.fixture
def target():
    """A target that exposes one gauge."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"# TYPE firstcome_example gauge\nfirstcome_example 42\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_scrapes_targets_evaluates_rules_and_answers_queries(tmp_path: Path, target: str) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(json.dumps(RULES))
    with prometheus.running(tmp_path / "p", targets={"example": [target]}, rules=[rules]) as found:
        started = time.time()
        wait_until(lambda: bool(found.query("shop:doubled") and found.alerts()))
        (doubled,) = found.query("shop:doubled")
        over_time: list[prometheus.Series] = []
        wait_until(
            lambda: (
                over_time.extend(
                    found.query_range("firstcome_example", start=started, end=time.time(), step=0.5)
                )
                or bool(over_time)
            )
        )
        assert found.targets() == {target: "up"}
        assert [alert["labels"]["alertname"] for alert in found.alerts()] == ["ExampleHigh"]
        assert found.query("1 + 1")[0].value == 2
        with pytest.raises(SetupError, match="refused"):
            found.query("rate(")
    assert doubled.value == 84
    assert doubled.labels["job"] == "example"
    assert {value for _, value in over_time[0].points} == {42.0}


def test_a_wrong_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("groups: 1")
    with (
        pytest.raises(SetupError, match="prometheus"),
        prometheus.running(tmp_path / "p", targets={}, rules=[tmp_path / "rules.yml"]),
    ):
        pass
