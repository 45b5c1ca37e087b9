"""`make test-containers`: images and compose file on a real Docker engine, and what is promised of them.

Exit code 1 when a check failed, 2 when this machine can't run it, 130 after Ctrl-C.
"""

import argparse
import fcntl
import functools
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.chaos.calls import Observations
from lab.cluster.drill.report import machine
from lab.containers import buying, engine, images, project, roots, selling
from lab.containers.checks import crashes, restore, start, stops, update
from lab.containers.project import LEFT_OUT, SHOP, STORES, Project
from lab.containers.report import Report, say
from lab.containers.selling import ShopUnderTest
from scripts.stack import SetupError, children, places, ports
from scripts.stack.instance import Instance

NAME = "test-containers"
CANNOT = 2
SEED = "containers"
BESIDE_SECONDS = 8
"""How long clients buy before an update begins and after its end."""
KILLED = (*SHOP, *STORES)


def main() -> int:
    """Run all checks; the exit code. Raises SetupError."""
    parser = argparse.ArgumentParser(prog=f"make {NAME}", description="Run the containers on a real engine.")
    parser.add_argument("--keep", default="", help="1: leave everything up after the checks, until Ctrl-C")
    asked = parser.parse_args()
    home = places.PROJECT / "var" / "containers"
    try:
        _require_machine()
        home.mkdir(parents=True, exist_ok=True)
        with _only_run(home):
            return _run(home, is_kept=bool(asked.keep))
    except CannotRun as error:
        # `make verify` knows by this line that it is no failure.
        say(f"{NAME}: NOT RUN: {error}")
        return CANNOT


class CannotRun(SetupError):
    """This machine lacks what the command needs; the text says what."""


def _require_machine() -> None:
    """Raise CannotRun without root or debootstrap."""
    if os.getuid() != 0:
        raise CannotRun(f"it needs root, for a Docker engine of its own: use `sudo make {NAME}`")
    for program, package in {"debootstrap": "debootstrap", "nsenter": "util-linux", "curl": "curl"}.items():
        if shutil.which(program) is None:
            raise CannotRun(f"{program} is missing; run this first: apt-get install -y {package}")


@contextmanager
def _only_run(home: Path) -> Iterator[None]:
    """One run at a time: two engines must not share what they keep. Raises CannotRun."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotRun(f"another run has {home}: wait for its end") from None
        yield


def _run(home: Path, *, is_kept: bool) -> int:
    """All checks in an engine of their own; the exit code."""
    started, report, shared = time.monotonic(), Report(), home / "shared"
    try:
        roots.require_all()
    except SetupError as error:
        reason = str(error).partition("\n")[0]
        raise CannotRun(f"it needs Debian's packages from the network: {reason}") from error
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir()
    instance = Instance(home=home, port=ports.free(project.PORTS), database="mysql")
    folder = shared / "project"
    project.copy(folder)
    project.write_settings(folder, instance)
    try:
        with engine.running_engine(home, folder, shared) as running:
            _check_all(report, Project(engine=running, folder=folder, instance=instance), shared)
            if is_kept:
                _wait_for_signal(instance)
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    return _summary(report, time.monotonic() - started)


def _check_all(report: Report, shop: Project, shared: Path) -> None:
    """Every check, in order; without a shop that starts there is nothing more to check."""
    say(f"{NAME}: {machine()}")
    for service, reason in LEFT_OUT.items():
        say(f"left out: {service}, {reason}")
    if not report.check(
        "images of the servers, from Debian's packages", lambda: images.make_all(shop.engine, shared)
    ):
        return
    say(images.versions(shop.engine))
    if not _check_start(report, shop):
        return
    seen = Observations()
    tested = selling.seed_shop(shop, seen)
    _check_shop(report, tested)
    _check_crashes(report, tested)
    _check_update(report, tested)
    _check_stops(report, tested)
    _check_restore(report, tested)


def _check_start(report: Report, shop: Project) -> bool:
    checks: dict[str, Callable[[], str | None]] = {
        "every service is checked, or named as left out": lambda: project.require_known_services(shop),
        "docker compose build": lambda: start.build(shop),
        "docker compose up -d": lambda: start.bring_up(shop),
        "migrate completed": lambda: start.migrate_completed(shop),
        "all services are healthy": lambda: start.all_healthy(shop),
    }
    return all(report.check(name, act) for name, act in checks.items())


def _check_shop(report: Report, tested: ShopUnderTest) -> None:
    shop = tested.project
    for service in SHOP:
        name = f"{service} is read-only, without capabilities and not root"
        report.check(name, functools.partial(start.is_locked_down, shop, service))
    report.check("doctor", lambda: start.doctor_passes(shop))
    report.check("an order is paid", tested.require_paid_order)
    report.check("the worker did that, by a message over RabbitMQ", lambda: start.worker_ran_task(shop))
    report.check("the queue is durable and consumed", lambda: start.queue_is_durable(shop))
    report.check("Prometheus scrapes every target", lambda: start.targets_are_up(shop))


def _check_crashes(report: Report, tested: ShopUnderTest) -> None:
    """Kill each service under load, then compare all answers."""
    with buying.running_load(tested, f"{SEED} kills") as load:
        for service in KILLED:
            name = f"kill -9 of {service}"
            report.check(name, functools.partial(crashes.comes_back, tested, service))
    report.check("each request beside the kills got a final answer", lambda: load.require_answers(tested))
    report.check("after the kills nothing is lost or doubled", tested.require_all_as_answered)


def _check_update(report: Report, tested: ShopUnderTest) -> None:
    before = len(tested.seen.measured.requests)
    with buying.running_load(tested, f"{SEED} update") as load:
        time.sleep(BESIDE_SECONDS)
        report.check("the documented update", lambda: update.carry_out(tested.project))
        time.sleep(BESIDE_SECONDS)
    requests = tested.seen.measured.requests[before:]
    report.check("each request beside the update got a final answer", lambda: load.require_answers(tested))
    say(f"{'':12}{update.describe(requests)}")
    report.check("after the update nothing is lost or doubled", tested.require_all_as_answered)


def _check_stops(report: Report, tested: ShopUnderTest) -> None:
    for service in SHOP:
        name = f"docker compose stop {service}, while clients wait"
        report.check(name, functools.partial(stops.ends_while_clients_wait, tested, service))
    for service in STORES:
        report.check(
            f"docker compose stop {service}", functools.partial(stops.ends_in_time, tested.project, service)
        )
    report.check("docker compose up -d after the stops", lambda: start.bring_up(tested.project))
    report.check("all services are healthy", lambda: start.all_healthy(tested.project))
    report.check("after the stops nothing is lost or doubled", tested.require_all_as_answered)


def _check_restore(report: Report, tested: ShopUnderTest) -> None:
    """Last, because it loses what came after the backup; the session's orders are not in the comparison."""
    shop = tested.project
    report.check("the README's session", lambda: start.session_works(shop))
    if report.check("a backup while the shop runs", lambda: restore.back_up(shop)):
        report.check("MySQL's volume is lost, and restored", lambda: restore.lose_and_restore(tested))
        report.check("an order is paid after the restore", tested.require_paid_order)


def _wait_for_signal(instance: Instance) -> None:
    say(f"{instance.url} is kept up (KEEP=1). Ctrl-C stops everything.")
    signal.pause()


def _summary(report: Report, seconds: float) -> int:
    failures = report.failures()
    for one in failures:
        say(f"FAIL {one.name}")
    word = f"{len(failures)} of {len(report.results)} checks failed" if failures else "passed"
    took = f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    say(f"{NAME}: {word}, {len(report.results)} checks in {took}; {machine()}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(children.run_command(NAME, main))
