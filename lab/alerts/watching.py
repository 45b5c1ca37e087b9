"""What watches a stack and what Alertmanager sends to a webhook.

Rules and routes are the committed ones, their durations alone are shortened. Waits become a sixtieth. Ranges
such as `[5m]` become 10 to 20 seconds: with less they hold too few scrapes, and with more a burn rate of
three days takes minutes to clear.
"""

import http.server
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lab.stack import exporters, prometheus
from lab.stack.prometheus import Prometheus
from scripts import alert_rules
from scripts.stack import children, places, ports, system_packages
from scripts.stack.instance import Instance

SCRAPE_SECONDS, SLOWEST_SCRAPE_SECONDS = 2.0, 4.0
"""Of a range of ten seconds that is five scrapes; or two, on a machine that has more to do than it has cores:
a process that answers late there is not down. A scrape may take as long. Rules are evaluated as often."""
DURATION = r"(?:\d+[smhd])+"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass
class Fired:
    """When an alert first fired, and when the last one of its name was resolved, by the monotonic clock; to
    which receivers it went; and the labels of those that fire."""

    at: float
    cleared_at: float | None = None
    receivers: set[str] = field(default_factory=set)
    firing: set[frozenset[tuple[str, str]]] = field(default_factory=set)


def take(alerts: dict[str, Fired], receiver: str, notification: Any) -> None:
    """Record one notification of Alertmanager's, by the alerts' names."""
    for alert in notification["alerts"]:
        name, labels = alert["labels"]["alertname"], frozenset(alert["labels"].items())
        if alert["status"] == "firing":
            fired = alerts.setdefault(name, Fired(time.monotonic()))
            fired.firing.add(labels)
            fired.receivers.add(receiver)
            fired.cleared_at = None
        elif (known := alerts.get(name)) and labels in known.firing:
            known.firing.remove(labels)
            known.cleared_at = None if known.firing else time.monotonic()


@contextmanager
def receiving(alerts: dict[str, Fired]) -> Iterator[str]:
    """The address of a webhook on loopback, which has a path for each of Alertmanager's receivers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            take(alerts, self.path.strip("/"), json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Each notification would be a line of the output."""

    # One notification at a time: what is recorded has no lock.
    with http.server.HTTPServer((ports.HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{ports.HOST}:{server.server_port}"
        finally:
            server.shutdown()


class Program(ExitStack):
    """A server beside the stack, on a free port of loopback, which can be away for a while. `{address}` in
    its words and `{port}` in its environment are its own."""

    def __init__(self, log: Path, *words: str, **environment: str) -> None:
        super().__init__()
        port = ports.free()
        self.address = f"{ports.HOST}:{port}"
        own = [word.format(address=self.address, port=port) for word in words]
        given = {name: value.replace("{port}", str(port)) for name, value in environment.items()}
        how: dict[str, Any] = {"name": log.stem, "log": log, "environment": os.environ | given}
        self.started = partial(children.running, own, is_ready=(ports.HOST, port), **how)
        self.child = self.enter_context(self.started())

    @contextmanager
    def away(self) -> Iterator[None]:
        self.close()
        yield
        self.enter_context(self.started())


def shortened(text: str) -> str:
    """Rules or Alertmanager's configuration with shorter durations, and nothing else changed."""

    def short(duration: str, least: int, most: int) -> str:
        parts = re.findall(r"(\d+)([smhd])", duration)
        seconds = sum(int(number) * UNITS[unit] for number, unit in parts) // 60
        return f"{min(most, max(least, seconds))}s"

    text = re.sub(rf"\[({DURATION})\]", lambda found: f"[{short(found[1], 10, 20)}]", text)
    waits = rf"\b(for|group_wait|group_interval|repeat_interval): ({DURATION})$"
    return re.sub(waits, lambda found: f"{found[1]}: {short(found[2], 1, 86_400)}", text, flags=re.MULTILINE)


@contextmanager
def watching(
    instance: Instance, alerts: dict[str, Fired], second_issuer: str
) -> Iterator[tuple[Prometheus, Program]]:
    """Watch the shop, an issuer at that address and the servers by the shortened rules, and record alerts;
    also yields the exporter of Redis. Raises SetupError."""
    folder, program = instance.home / "watchers", system_packages.program
    folder.mkdir()
    for path in [*alert_rules.FILES, alert_rules.ALERTMANAGER]:
        (folder / path.name).write_text(shortened(path.read_text()))
    busy = os.getloadavg()[0] / (os.cpu_count() or 1) / 2
    listens, script = "web.listen-address={address}", alert_rules.OPS / "monitoring" / "alertmanager.py"
    with ExitStack() as started:
        url = started.enter_context(receiving(alerts))
        words = [sys.executable, str(script), str(folder / "alertmanager.yml"), "--cluster.listen-address="]
        words += [f"--storage.path={folder / 'data'}", f"--{listens}"]
        own = {"PAGER_WEBHOOK_URL": f"{url}/pager", "TICKET_WEBHOOK_URL": f"{url}/tickets"}
        alertmanager = Program(folder / "alertmanager.log", *words, **own, TMPDIR=str(folder))
        started.enter_context(alertmanager)
        words = [program("prometheus-redis-exporter"), f"-redis.addr=unix://{instance.redis_socket}"]
        redis = started.enter_context(Program(folder / "redis-exporter.log", *words, f"-{listens}"))
        compose = yaml.safe_load((places.PROJECT / "docker-compose.yml").read_text())["services"]
        _, *options = compose["mysql_exporter"]["command"]
        mysql = started.enter_context(exporters.of_mariadb(instance, folder, *options))
        targets = instance.metrics_targets()
        targets["issuer"].append(second_issuer)
        servers = {"redis": redis.address, "mysql": mysql, "alertmanager": alertmanager.address}
        running = prometheus.running(
            folder / "prometheus",
            targets=targets | {job: [address] for job, address in servers.items()},
            rules=[folder / path.name for path in alert_rules.FILES],
            alertmanagers=[alertmanager.address],
            scrape_seconds=min(SLOWEST_SCRAPE_SECONDS, SCRAPE_SECONDS * max(1.0, busy)),
        )
        yield started.enter_context(running), redis
