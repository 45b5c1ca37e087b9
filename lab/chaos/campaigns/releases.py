"""The campaign `releases`: the previous release, migrated and replaced under load behind HAProxy.

Two of each of the shop's processes run, so that one works while the other is replaced.
"""

import csv
import os
import random
import re
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from string import Template
from subprocess import CompletedProcess, Popen

from lab.chaos import comparison, trial
from lab.chaos.calls import Connection, Measurement, Request
from lab.chaos.campaigns.run import PLAIN_LOAD, Run, say
from lab.cluster import templates
from lab.cluster.drill import previous_shop
from scripts.stack import (
    children,
    environment as environments,
    instance as instances,
    own_stack,
    places,
    ports,
    process_identity,
    processes,
    readiness,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.instance import Instance
from scripts.stack.places import PROJECT

WEB = ("web-1", "web-2")
NAMES = (*WEB, "worker-1", "worker-2", "beat-1", "beat-2", "issuer-1", "issuer-2")
BACKENDS = ("ready", "alive")
CONNECTIONS = 600
"""Of the database: for twice the processes of a stack."""
READY_SECONDS, COMMAND_SECONDS, STOP_SECONDS, DRAIN_SECONDS = 240, 600, 45, 35
"""As Compose's files have it, a web server ends after 35 s; that is the longest `Prefer: wait`, and some."""
BEFORE_SECONDS, PLANTED_SECONDS = 8, 8
"""Load on the previous release alone, whose keys and sagas the new one finds; and with the defect."""
PLANTED = "ALTER TABLE orders_order ADD COLUMN added_since INT NOT NULL"
"""A migration whose new column the previous release doesn't write."""
PLANTED_END = "ALTER TABLE orders_order DROP COLUMN added_since"
REPEATED = 200
"""So many calls are repeated after each round."""
ID = re.compile(r"[0-9a-f-]{36}|(?<=/)[0-9]+")


class Releases(Run):
    """The first round puts this release in the place of the previous one, the second the previous one again,
    the third this one; all later ones restart this release, without draining web servers. Each begins with
    new campaigns of coupons. With the planted migration that is made, and nothing is replaced."""

    load_kind, has_reader = PLAIN_LOAD, False  # the previous release has no feed
    needs, minutes, pauses = ("haproxy",), 6, (1.0, 5.0)

    @contextmanager
    def stack(self, settings: Mapping[str, str]) -> Iterator[None]:
        """The previous release serves, on its own schema. Raises SetupError."""
        instance, own = self.instance, {**settings, "WEB_WORKERS": "1", "TRUSTED_PROXIES": "1"}
        instances.remember(instance)
        for folder in (instance.run, instance.logs, instance.data, instance.static):
            folder.mkdir(parents=True, exist_ok=True)
        self.environment = environments.compose(instance, own_stack.own_environment(instance, own))
        self.environment[process_identity.MARK] = str(instance.home)
        self.running: dict[str, Popen[bytes]] = {}
        self.undrained: list[tuple[float, float]] = []
        self.previous = previous_shop.exported(instance.home / "previous")
        self.first_port = ports.free(len(WEB) + 1)
        self.front = Front(instance, self.first_port)
        instance.mariadb().prepare()
        try:
            for name in ("redis", "mariadb", *processes.OUTSIDE):
                self.start(name, PROJECT)
            stores = [str(instance.redis_socket), str(instance.mariadb_socket)]
            waiting.until(lambda: all(map(ports.answers, stores)), "no stores", within_seconds=90)
            self.manage_in(self.previous, "migrate --no-input")
            for name in ("front", *NAMES):
                self.start(name, PROJECT if name == "front" else self.previous)
            for name in WEB:
                self.wait_until_up(name)
            yield
        finally:
            supervision.clear_leftovers(instance, within_seconds=5)

    def manage(self, instance: Instance, words: str) -> CompletedProcess[str]:
        return self.manage_in(self.previous, words)

    def manage_in(self, code: Path, words: str) -> CompletedProcess[str]:
        """A management command of that release. Raises SetupError."""
        command, within = [sys.executable, "manage.py", *words.split()], COMMAND_SECONDS
        ran = children.run(command, within_seconds=within, environment=self.environment, folder=code)
        children.printed(ran)
        return ran

    def start(self, name: str, code: Path) -> None:
        """Start the process with the code of this folder."""
        environment, metrics = {**self.environment}, self.instance.metrics / name
        if name in WEB:
            shutil.rmtree(metrics, ignore_errors=True)
            metrics.mkdir(parents=True)
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
        log, command = self.instance.logs / f"{name}.log", self.command(name)
        self.running[name] = children.start(command, log=log, environment=environment, folder=code)

    def command(self, name: str) -> processes.Command:
        kind = name.partition("-")[0]
        match kind:
            case "mariadb":
                return self.instance.mariadb(max_connections=CONNECTIONS).command()
            case "front":
                return self.front.command()
            case "web":
                return processes.web_server(self.web_port(name), "--workers", "1")
            case "beat":
                schedule = ("--schedule", str(self.instance.data / f"{name}-schedule"), "--pidfile", "")
                return [sys.executable, "-m", "celery", "-A", "shop", "beat", *schedule]
        own_name = ["--hostname", f"{name}@releases"] if kind == "worker" else []
        return [*processes.command(kind, self.instance, self.environment), *own_name]

    def web_port(self, name: str) -> int:
        return self.first_port + WEB.index(name)

    def make_faults(self) -> float:
        """Migrate and replace processes under load; the longest that a replacement took."""
        self.seen.measured = Measurement()
        chance, longest = random.Random(f"{self.seed} rolls"), 0.0
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        self.manage_in(PROJECT, "migrate --no-input")
        say(f"migrated under load in {time.monotonic() - began:.1f} s")
        if self.is_planted:
            self.rows(PLANTED)
            time.sleep(PLANTED_SECONDS)
            self.rows(PLANTED_END)
            return 0.0
        for number in range(len(self.faults) // len(NAMES)):
            code, is_restart = self.previous if number == 1 else PROJECT, number >= 3
            say(f"round {number + 1}: {'restarts of ' if is_restart else ''}{code.name}")
            self.setup.campaigns += trial.create_campaigns(self.shop, 1)
            before = {name: self.front.count(name, "stot") for name in WEB}
            for name in chance.sample(NAMES, len(NAMES)):
                longest = max(longest, self.replace(name, code, is_drained=not is_restart))
                time.sleep(chance.uniform(*self.pauses))
            idle = [name for name, count in before.items() if self.front.count(name, "stot") == count]
            self.record(f"{name} had no request during a round" for name in idle)
            self.check_processes()
            self.check_replays(f"{self.seed} {number}")
        return longest

    def replace(self, name: str, code: Path, *, is_drained: bool) -> float:
        """Stop the process by SIGTERM and start it with that code; the seconds until it was ready."""
        began = time.monotonic()
        if name in WEB and is_drained:
            self.front.set_state(name, "drain")
            waiting.left(lambda: self.front.count(name, "scur"), within_seconds=DRAIN_SECONDS)
        drained = time.monotonic()
        children.stop(self.running[name], within_seconds=STOP_SECONDS)
        stopped = time.monotonic()
        self.start(name, code)
        if name in WEB:
            self.front.set_state(name, "ready")
            self.wait_until_up(name)
        else:
            time.sleep(1)
        ended = time.monotonic()
        if name in WEB and not is_drained:
            self.undrained.append((began, ended))
        spans = f"{drained - began:.1f}, {stopped - drained:.1f}, {ended - stopped:.1f} s"
        say(f"{name} was drained, stopped and ready after {spans}")
        return ended - began

    def wait_until_up(self, name: str) -> None:
        """Return once the web server is ready, and the balancer has found it so. Raises SetupError."""

        def is_up() -> bool:
            with suppress(FileNotFoundError, ConnectionRefusedError):  # its control socket comes last
                is_found = self.front.statistics()["ready", name]["status"] == "UP"
                return is_found and not readiness.readiness_problem(self.web_port(name))
            return False

        waiting.until(is_up, f"{name} was not found ready", within_seconds=READY_SECONDS)

    def check_processes(self) -> None:
        ended = [name for name, child in self.running.items() if child.poll() is not None]
        self.record(f"{name} has ended by itself" for name in ended)

    def check_replays(self, seed: str) -> None:
        """Repeat calls that either release has answered: each gets its own answer again."""
        accounts = [self.setup.staff, *self.setup.buyers]
        made = [one for account in accounts for one in [*account.calls] if one.call.key and one.was_done]
        chosen = random.Random(seed).sample(made, min(REPEATED, len(made)))
        self.record(comparison.repeats(chosen, Connection(self.instance.port, self.seen, seed=seed)))
        say(f"{len(chosen)} of {len(made)} keyed calls repeated")

    def load(self) -> float:
        """The same; then each request that failed is a finding.

        Those whose connection a web server closed that was stopped without draining are counted apart: the
        server closes what is idle, and a request may be on its way.
        """
        longest, requests, apart = super().load(), list[Request](), list[str]()
        for one in self.seen.measured.requests:
            is_closed = any(began <= one.ended and one.began <= ended for began, ended in self.undrained)
            if one.result == "no answer" and is_closed:
                apart.append(call_of(one))
            else:
                requests.append(one)
        refused, failed = sum(one.result[:3] == "503" for one in requests), failures(requests)
        say(f"{len(requests)} requests, refused: {refused}, failed: {dict(failed)}")
        say(f"without an answer, at a stop without draining: {apart}")
        self.record(f"{count} requests failed: {what}" for what, count in failed.items())
        return longest

    def finds_planted(self, wrong: list[str]) -> bool:
        return bool(wrong or failures(self.seen.measured.requests))


class Front:
    """HAProxy with a cluster's settings, but for the third web server, and its control socket."""

    def __init__(self, instance: Instance, first_web_port: int) -> None:
        self.control = places.socket_path(instance.run, "haproxy.sock")
        self.settings = instance.home / "haproxy.cfg"
        names = ("web_1_port", "web_2_port", "front_statistics_port")
        known = {name: first_web_port + number for number, name in enumerate(names)}
        text = (templates.FOLDER / "haproxy-front.cfg").read_text()
        lines = "\n".join(line for line in text.splitlines() if "server web-3" not in line)
        of_cluster = {"host": ports.HOST, "settings": str(templates.FOLDER), "front_port": instance.port}
        own = f"global\n  stats socket {self.control} mode 600 level admin\n"
        places.write_whole(self.settings, f"{own}{Template(lines).substitute(of_cluster, **known)}\n")

    def command(self) -> processes.Command:
        return [system_packages.program("haproxy"), "-db", "-f", str(self.settings)]

    def set_state(self, name: str, state: str) -> None:
        for backend in BACKENDS:
            self._ask(f"set server {backend}/{name} state {state}")

    def count(self, name: str, counter: str) -> int:
        """Of the web server: `stot` are the requests it was sent, `scur` those under way."""
        found = self.statistics()
        return sum(int(found[backend, name][counter]) for backend in BACKENDS)

    def statistics(self) -> Mapping[tuple[str, str], dict[str, str]]:
        """By backend and server."""
        lines = self._ask("show stat").removeprefix("# ").splitlines()
        return {(row["pxname"], row["svname"]): row for row in csv.DictReader(lines)}

    def _ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(os.fspath(self.control))
            control.sendall(f"{line}\n".encode())
            return b"".join(iter(lambda: control.recv(65_536), b"")).decode()


def failures(requests: Iterable[Request]) -> Counter[str]:
    """The requests that no answer of the contract came to, by their result: none, or 5xx but 503."""
    failed = [one for one in requests if not re.match("[1-4]|503", one.result)]
    return Counter(f"{call_of(one)}: {one.result}" for one in failed)


def call_of(request: Request) -> str:
    """The method and path, without ids."""
    return f"{request.method} {ID.sub('…', request.path)}"
