"""`make test-containers`: images and compose file on a real Docker engine, and what is promised of them.

Exit code 1 when a check failed, 2 when this machine can't run it, 130 after Ctrl-C.
"""

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.containers import checks, engine
from lab.containers.engine import LEFT_OUT, SHOP, STORES, Containers
from scripts.stack import SetupError, children, places, ports
from scripts.stack.instance import Instance

NAME = "test-containers"
BESIDE_SECONDS = 8
"""How long clients buy before an update begins and after its end."""


class Report:
    """The checks so far: each is run, timed and printed as ok or FAIL."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.failed: list[str] = []

    def check(self, name: str, act: Callable[..., str | None], *arguments: Any) -> bool:
        """Run the check, and print its line with what it returns; False when it raised that it failed."""
        started, word = time.monotonic(), "ok"
        try:
            what = act(*arguments) or ""
        except (SetupError, OSError) as error:
            what, word = str(error) or repr(error), "FAIL"
            self.failed.append(name)
        self.names.append(name)
        what = f": {what}".replace("\n", "\n            ") if what else ""
        say(f"{word:4} {time.monotonic() - started:6.1f} s  {name}{what}")
        return word == "ok"


class CannotRun(SetupError):
    """This machine lacks what the command needs; the text says what."""


def main() -> int:
    """Run all checks; the exit code. Raises SetupError."""
    parser = argparse.ArgumentParser(prog=f"make {NAME}", description="Run the containers on a real engine.")
    parser.add_argument("--keep", default="", help="1: leave everything up after the checks, until Ctrl-C")
    asked = parser.parse_args()
    home = places.PROJECT / "var" / "containers"
    try:
        if os.getuid() != 0:
            raise CannotRun(f"it needs root, for a Docker engine of its own: use `sudo make {NAME}`")
        for program, package in {
            "debootstrap": "debootstrap",
            "nsenter": "util-linux",
            "curl": "curl",
        }.items():
            if shutil.which(program) is None:
                raise CannotRun(f"{program} is missing; run this first: apt-get install -y {package}")
        home.mkdir(parents=True, exist_ok=True)
        with (home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CannotRun(f"another run has {home}: wait for its end") from None
            return _run(home, is_kept=bool(asked.keep))
    except CannotRun as error:
        # `make verify` knows by this line that it is no failure.
        say(f"{NAME}: NOT RUN: {error}")
        return 2


def _run(home: Path, *, is_kept: bool) -> int:
    """All checks in an engine of their own; the exit code."""
    started, report, shared = time.monotonic(), Report(), home / "shared"
    try:
        engine.require_roots()
    except SetupError as error:
        reason = str(error).partition("\n")[0]
        raise CannotRun(f"it needs Debian's packages from the network: {reason}") from error
    shutil.rmtree(shared, ignore_errors=True)
    instance = Instance(home=home, port=ports.free(engine.PORTS), database="mysql")
    try:
        engine.copy_project(shared / "project", instance)
        with engine.running(home, shared / "project", instance) as containers:
            _check_all(report, containers)
            if is_kept:
                say(f"{instance.url} is kept up (KEEP=1). Ctrl-C stops everything.")
                signal.pause()
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    for name in report.failed:
        say(f"FAIL {name}")
    count, seconds = len(report.names), time.monotonic() - started
    word = f"{len(report.failed)} of {count} checks failed" if report.failed else "passed"
    say(f"{NAME}: {word}, {count} checks in {seconds // 60:.0f} min {seconds % 60:.0f} s; {machine()}")
    return 1 if report.failed else 0


def _check_all(report: Report, containers: Containers) -> None:
    """Every check, in order; without a shop that starts there is nothing more to check."""
    say(f"{NAME}: {machine()}")
    for service, reason in LEFT_OUT.items():
        say(f"left out: {service}, {reason}")
    check, build = (
        report.check,
        lambda: containers.compose("build", within_seconds=engine.BUILD_SECONDS) and "",
    )
    up = lambda: containers.compose("up", "--detach") and ""  # noqa: E731
    if not check("images of the servers, from Debian's packages", engine.make_images, containers):
        return
    say(engine.versions(containers))
    is_up = (
        check("every service is checked, or named as left out", checks.all_services_are_known, containers)
        and check("docker compose build", build)
        and check("docker compose up -d", up)
        and check("migrate completed", checks.has_exited, containers, "migrate")
        and check("all services are healthy", containers.wait_until_healthy)
    )
    if not is_up:
        return
    tested = checks.seed_shop(containers)
    for service in SHOP:
        name = f"{service} is read-only, without capabilities and not root"
        check(name, checks.is_locked_down, containers, service)
    check("doctor", checks.doctor_passes, containers)
    check("an order is paid", tested.order_is_paid)
    check("the worker did that, by a message over RabbitMQ", checks.worker_ran_task, containers)
    check("the queue is durable and consumed", checks.queue_is_durable, containers)
    check("Prometheus scrapes every target", checks.targets_are_up, containers)

    def kills() -> None:
        with checks.load(tested, "kills"):
            for service in (*SHOP, *STORES):
                check(f"kill -9 of {service}", checks.comes_back, tested, service)

    def update() -> str:
        before = len(tested.seen.measured.requests)
        with checks.load(tested, "update"):
            time.sleep(BESIDE_SECONDS)
            check("the documented update", checks.update, containers)
            time.sleep(BESIDE_SECONDS)
        return checks.describe(tested.seen.measured.requests[before:])

    for act in (kills, update):
        check(f"each request beside the {act.__name__} got a final answer", act)
        check(f"after the {act.__name__} nothing is lost or doubled", tested.all_is_as_answered)
    for service in SHOP:
        name = f"docker compose stop {service}, while clients wait"
        check(name, checks.stops_while_clients_wait, tested, service)
    for service in STORES:
        check(f"docker compose stop {service}", checks.stops_in_time, containers, service)
    check("docker compose up -d after the stops", up)
    check("all services are healthy", containers.wait_until_healthy)
    check("after the stops nothing is lost or doubled", tested.all_is_as_answered)
    # Last, because it loses what came after the backup; the session's orders are not in the comparison.
    check("the README's session", checks.session_works, containers)
    if check("a backup while the shop runs", checks.back_up, containers):
        check("MySQL's volume is lost, and restored", checks.lose_and_restore, tested)
        check("an order is paid after the restore", tested.order_is_paid)


def machine() -> str:
    """What the figures depend on."""
    return f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load average {os.getloadavg()[1]:.0f}"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(children.run_command(NAME, main))
