"""The campaign `releases`: the previous release, migrated and replaced under load behind HAProxy.

Two of each of the shop's processes run, so that one works while the other is replaced.
"""

import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from string import Template
from subprocess import Popen
from typing import Any

import requests

from lab import stage
from lab.calls import NO_ANSWER, Findings, Period, Request
from lab.chaos import comparison
from lab.chaos.campaigns.run import Run, say
from lab.cluster import layout
from scripts.stack import (
    Environment,
    children,
    own_stack,
    ports,
    processes,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.environment import compose
from scripts.stack.instance import remember
from scripts.stack.places import PROJECT

WEB = ("web-1", "web-2")
NAMES = (*WEB, "worker-1", "worker-2", "beat-1", "beat-2", "issuer-1", "issuer-2")
# Whose ports HAProxy's template has. There is no third web server.
PORTS = (*WEB, "web-3", "front-statistics")
READY_SECONDS = 240
STOP_SECONDS = 45
# As Compose's files have it, a web server ends after 35 s; that is the longest `Prefer: wait`, and some.
DRAIN_SECONDS = 35
REPEATED = 200
ALONE_SECONDS = 8  # Of load on the previous release alone, whose keys and sagas the new one finds
MAX_CONNECTIONS = 600  # For twice the processes
ADD_COLUMN = "ALTER TABLE orders_order ADD COLUMN added_since INT NOT NULL"
DROP_COLUMN = "ALTER TABLE orders_order DROP COLUMN added_since"


class Releases(Run):
    """Rounds: this release in the place of the previous one, the previous one again, and this one; the later
    ones restart this release, without draining web servers. The planted migration is made alone."""

    command_seconds = 600

    @contextmanager
    def stack(self, settings: Environment) -> Iterator[None]:
        """The previous release serves, on its own schema. Raises SetupError."""
        instance = self.instance
        remember(instance)
        for folder in (instance.run, instance.logs, instance.data, instance.static):
            folder.mkdir(parents=True, exist_ok=True)
        self.environment = compose(instance, own_stack.own_environment(instance, settings))
        self.environment[children.MARK] = str(instance.home)
        self.running: dict[str, Popen[bytes]] = {}
        self.undrained: list[Period] = []
        self.previous = stage.code_of(stage.PREVIOUS, instance.home / "previous")
        self.write_balancer()
        instance.mariadb().prepare()
        try:
            for name in ("redis", "mariadb", *processes.OUTSIDE):
                self.start(name, PROJECT)
            for socket in (instance.redis_socket, instance.mariadb_socket):
                answers = partial(ports.answers, socket)
                waiting.until(answers, "no stores", within_seconds=READY_SECONDS)
            self.manage(instance, "migrate --no-input")
            for name in NAMES:
                self.start(name, self.previous)
            self.start("front", PROJECT)
            answers = partial(ports.answers, (ports.HOST, self.ports["front-statistics"]))
            waiting.until(answers, "no HAProxy", within_seconds=READY_SECONDS)
            for name in WEB:
                self.balance(name, "ready")
            yield
        finally:
            supervision.clear_leftovers(instance, within_seconds=5)

    def write_balancer(self) -> None:
        """The configuration of HAProxy, from the template of a cluster's."""
        self.ports = {name: port for port, name in enumerate(PORTS, ports.free(len(PORTS)))}
        known = {f"{name.replace('-', '_')}_port": port for name, port in self.ports.items()}
        text = Template((layout.TEMPLATES / "haproxy-front.cfg").read_text()).substitute(
            known, host=ports.HOST, settings=layout.TEMPLATES, front_port=self.instance.port
        )
        # The page of statistics, its last section, also takes commands.
        (self.instance.home / "haproxy.cfg").write_text(f"{text}  stats admin if TRUE\n")

    def manage(self, _: Any, words: str, code: Path | None = None) -> children.Ran:
        """A management command, by default of the previous release. Raises SetupError."""
        command = [sys.executable, "manage.py", *words.split()]
        folder = code or self.previous
        ran = children.run(
            command, within_seconds=self.command_seconds, environment=self.environment, folder=folder
        )
        children.printed(ran)
        return ran

    def start(self, name: str, code: Path) -> None:
        instance = self.instance
        kind = name.partition("-")[0]
        match kind:
            case "mariadb":
                command = instance.mariadb(max_connections=MAX_CONNECTIONS).command()
            case "front":
                command = [system_packages.program("haproxy"), "-db", "-f", f"{instance.home}/haproxy.cfg"]
            case "web":
                command = processes.web_server(self.ports[name], "--workers", "1")
            case _:
                command = processes.command(kind, instance, self.environment)
        # Of two workers or beats each has its own of these.
        if kind == "worker":
            command = [*command, "--hostname", f"{name}@shop"]
        if kind == "beat":
            command = [*command, "--schedule", f"{instance.data}/{name}"]
        log = instance.logs / f"{name}.log"
        self.running[name] = children.start(command, log=log, environment=self.environment, folder=code)

    def make_faults(self) -> float:
        self.seen.requests = []
        time.sleep(ALONE_SECONDS)
        self.migrate()
        if self.is_planted:
            # Both releases write: a migration adds a column that the previous one doesn't know.
            self.rows(ADD_COLUMN)
            time.sleep(ALONE_SECONDS)
            self.rows(DROP_COLUMN)
            return 0.0
        chance = random.Random(f"{self.seed} rolls")
        longest = 0.0
        for number in range(len(self.faults) // len(NAMES)):
            longest = max(longest, self.roll(number, chance))
            self.repeat_calls(chance)
        self.finish()
        return longest

    def roll(self, number: int, chance: random.Random) -> float:
        """Replace every process once; the longest time until one was ready."""
        code = PROJECT
        if number == 1:
            code = self.previous
        is_restart = number >= 3
        say(f"round {number + 1}: {'restarts of ' if is_restart else ''}{code.name}")
        self.setup.campaigns += self.shop.create_campaigns(1)
        longest = 0.0
        for name in chance.sample(NAMES, len(NAMES)):
            longest = max(longest, self.replace(name, code, is_drained=not is_restart))
            time.sleep(chance.uniform(*self.campaign.pauses))
        return longest

    def repeat_calls(self, chance: random.Random) -> None:
        """Calls that either release has answered: each gets its own answer again."""
        made = [call for call in self.setup.calls if call.call.key and call.was_done]
        self.record(comparison.repeats(chance.sample(made, min(REPEATED, len(made))), self.shop.connection))

    def finish(self) -> None:
        """What an operator does once the last process of the previous release has ended."""
        self.manage(self.instance, "finish_upgrade", PROJECT)
        self.manage(self.instance, "rebuild_product_days", PROJECT)

    def migrate(self) -> None:
        self.manage(self.instance, "migrate --no-input", PROJECT)

    def replace(self, name: str, code: Path, *, is_drained: bool) -> float:
        """Stop the process by SIGTERM and start it with that code; the seconds until it was ready."""
        began = time.monotonic()
        if name in WEB and is_drained:
            self.balance(name, "drain")
            waiting.left(partial(self.under_way, name), within_seconds=DRAIN_SECONDS)
        self.record(self.ended())
        children.stop(self.running[name], within_seconds=STOP_SECONDS)
        self.start(name, code)
        self.made += 1
        if name in WEB:
            waiting.until(
                lambda: not supervision.readiness_problem(self.ports[name]),
                f"{name} was not ready",
                within_seconds=READY_SECONDS,
            )
            self.balance(name, "ready")
        else:
            time.sleep(1)
        if name in WEB and not is_drained:
            self.undrained.append((began, time.monotonic()))
        say(f"{name} was replaced after {time.monotonic() - began:.1f} s")
        return time.monotonic() - began

    def balance(self, name: str, state: str) -> None:
        """Have the balancer send it new requests, once that has found it `ready`, or none (`drain`)."""
        url = f"http://{ports.HOST}:{self.ports['front-statistics']}/statistics"
        for backend in self.balanced(name):
            form = {"s": name, "action": state, "b": backend}
            requests.post(url, form, allow_redirects=False, timeout=DRAIN_SECONDS)
        if state != "drain":
            waiting.until(
                lambda: self.balanced(name)["ready"]["status"] == "UP",
                f"{name} was not found ready",
                within_seconds=READY_SECONDS,
            )

    def under_way(self, name: str) -> int:
        return sum(int(row["scur"]) for row in self.balanced(name).values())

    def balanced(self, name: str) -> Mapping[str, Mapping[str, str]]:
        result = {}
        for row in layout.balanced(self.ports["front-statistics"]):
            if row["svname"] == name:
                result[row["pxname"]] = row
        return result

    def ended(self) -> Findings:
        for name, child in self.running.items():
            if child.poll() is not None:
                yield f"{name} has ended by itself"

    def load(self) -> float:
        longest = super().load()
        failed = failures(self.seen.requests, self.undrained)
        say(f"{len(self.seen.requests)} requests, failed: {dict(failed)}")
        self.record(f"{count} requests failed: {what}" for what, count in failed.items())
        return longest

    def finds_planted(self) -> bool:
        return bool(self.wrong or failures(self.seen.requests))


def failures(requests: Iterable[Request], undrained: Iterable[Period] = ()) -> Counter[str]:
    """The requests that were answered 5xx but 503, or not, by path without ids.

    A web server that is stopped without draining closes what is idle, and a request may be on its way.
    """
    found: Counter[str] = Counter()
    for request in requests:
        is_closed = request.result == NO_ANSWER and request.overlaps(undrained)
        if is_closed or re.match("[1-4]|503", request.result):
            continue
        path = re.sub("[0-9a-f-]{36}|(?<=/)[0-9]+", "…", request.path)
        found[f"{request.method} {path}: {request.result}"] += 1
    return found
