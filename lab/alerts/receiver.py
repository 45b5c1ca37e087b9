"""A webhook that Alertmanager sends to: which alerts fire, and when each began and ended to."""

import http.server
import json
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from scripts.stack import ports

Labels = frozenset[tuple[str, str]]


@dataclass
class Receiver:
    """What was sent, by alert. `url` has a path for each of Alertmanager's receivers."""

    url: str = ""
    _firing: dict[Labels, str] = field(default_factory=dict)
    _fired_at: dict[str, float] = field(default_factory=dict)
    _cleared_at: dict[str, float] = field(default_factory=dict)
    _sent_to: dict[str, set[str]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def forget(self) -> None:
        """Forget everything, before the next causes."""
        with self._changed:
            self._firing.clear()
            self._fired_at.clear()
            self._cleared_at.clear()

    def fired(self) -> dict[str, float]:
        """When each alert first fired (of the monotonic clock), by its name."""
        with self._changed:
            return dict(self._fired_at)

    def cleared(self) -> dict[str, float]:
        """When the last one of each name was resolved; of names that still fire, nothing."""
        with self._changed:
            return {name: at for name, at in self._cleared_at.items() if name not in self._firing.values()}

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        with self._changed:
            return set(self._firing.values())

    def receivers_of(self, name: str) -> set[str]:
        """Which of Alertmanager's receivers the alert went to: `pager`, `tickets`."""
        with self._changed:
            return set(self._sent_to.get(name, ()))

    def wait_until_fired(self, names: Collection[str], *, until: float) -> bool:
        """Wait until all of these have fired; False when that takes longer than `until`."""
        return self._wait(lambda: set(names) <= self._fired_at.keys(), until)

    def take(self, receiver: str, notification: Any) -> None:
        """Record one notification of Alertmanager's."""
        now = time.monotonic()
        with self._changed:
            for alert in notification["alerts"]:
                labels, name = frozenset(alert["labels"].items()), alert["labels"]["alertname"]
                if alert["status"] == "firing":
                    self._firing[labels] = name
                    self._fired_at.setdefault(name, now)
                    self._sent_to.setdefault(name, set()).add(receiver)
                elif self._firing.pop(labels, None):
                    self._cleared_at[name] = now
            self._changed.notify_all()

    def _wait(self, is_so: Any, until: float) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(is_so, timeout=max(0.0, until - time.monotonic())))


@contextmanager
def listening() -> Iterator[Receiver]:
    """A receiver on a free port of loopback."""
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(self.path.strip("/"), json.loads(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Each notification would be a line of the output."""

    server = http.server.ThreadingHTTPServer((ports.HOST, 0), Handler)
    receiver.url = f"http://{ports.HOST}:{server.server_port}"
    threading.Thread(target=server.serve_forever, name="receiver", daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
