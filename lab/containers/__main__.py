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
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from lab.containers import checks, engine
from lab.containers.engine import LEFT_OUT, SHOP, STORES, Containers
from scripts.stack import SetupError, children, places, ports
from scripts.stack.instance import Instance

NAME = "test-containers"
say = functools.partial(print, flush=True)


class Report:
    """The checks so far, with those that failed."""

    def __init__(self) -> None:
        self.names, self.failed = list[str](), list[str]()

    def check(self, name: str, act: Callable[..., object], *arguments: object) -> bool:
        """Run the check, and print its line with what it returns; False when it raised that it failed."""
        started, word = time.monotonic(), "ok"
        try:
            what = str(act(*arguments) or "")
        except (SetupError, OSError) as error:
            what, word = str(error) or repr(error), "FAIL"
            self.failed.append(name)
        self.names.append(name)
        what = f": {what}".replace("\n", "\n            ") if what else ""
        say(f"{word:4} {time.monotonic() - started:6.1f} s  {name}{what}")
        return word == "ok"


def main() -> int:
    """Run all checks; the exit code. Raises SetupError."""
    parser = argparse.ArgumentParser(prog=f"make {NAME}", description="Run the containers on a real engine.")
    parser.add_argument("--keep", default="", help="1: leave everything up after the checks, until Ctrl-C")
    is_kept, home = bool(parser.parse_args().keep), places.PROJECT / "var" / "containers"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        if reason := _cannot_run(lock):
            # `make verify` knows by this line that it is no failure.
            say(f"{NAME}: NOT RUN: {reason}")
            return 2
        return _run(home, is_kept=is_kept)


def _cannot_run(lock: TextIO) -> str:
    """What this machine lacks; nothing where it can run. Makes the Debian roots."""
    if os.getuid() != 0:
        return f"it needs root, for a Docker engine of its own: use `sudo make {NAME}`"
    if missing := [name for name in ("debootstrap", "nsenter", "curl") if shutil.which(name) is None]:
        line = "apt-get install -y debootstrap util-linux curl"
        return f"{', '.join(missing)} is missing; run this first: {line}"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        engine.require_roots()
    except BlockingIOError:
        return f"another run has {lock.name}: wait for its end"
    except SetupError as error:
        return f"it needs Debian's packages from the network: {str(error).partition(chr(10))[0]}"
    return ""


def _run(home: Path, *, is_kept: bool) -> int:
    """All checks in an engine of their own; the exit code."""
    started, report, shared = time.monotonic(), Report(), home / "shared"
    machine = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load average {os.getloadavg()[1]:.0f}"
    shutil.rmtree(shared, ignore_errors=True)
    instance = Instance(home=home, port=ports.free(len(engine.PORTS)), database="mysql")
    try:
        engine.copy_project(shared / "project", instance)
        with engine.running(home, shared / "project", instance) as containers:
            say(*(f"left out: {service}, {reason}" for service, reason in LEFT_OUT.items()), sep="\n")
            # Without a shop that is up there is nothing more to check.
            if all(report.check(name, act, containers) for name, act in STARTS):
                _check_shop(report.check, containers)
            if is_kept:
                say(f"{instance.url} is kept up (KEEP=1). Ctrl-C stops everything.")
                signal.pause()
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    say(*(f"FAIL {name}\n" for name in report.failed), sep="", end="")
    count, seconds = len(report.names), time.monotonic() - started
    word = f"{len(report.failed)} of {count} checks failed" if report.failed else "passed"
    say(f"{NAME}: {word}, {count} checks in {seconds // 60:.0f} min {seconds % 60:.0f} s; {machine}")
    return 1 if report.failed else 0


STARTS: tuple[tuple[str, Callable[[Containers], object]], ...] = (
    ("images of the servers, from Debian's packages", engine.make_images),
    ("every service is checked, or named as left out", Containers.knows_all),
    ("docker compose build", Containers.build),
    ("docker compose up -d", Containers.up),
    ("all services are healthy", Containers.wait_until_healthy),
)


def _check_shop(check: Callable[..., bool], containers: Containers) -> None:
    """Every other check, in order."""
    tested = checks.seed_shop(containers)
    check("an order is paid", tested.order_is_paid)
    for name, *what in checks.SAYS:
        check(name, checks.says, containers, *what)
    broken: dict[str, list[tuple[Any, ...]]] = {
        "kills": [(f"kill -9 of {one}", checks.comes_back, tested, one) for one in (*SHOP, *STORES)],
        "update": [("the documented update", checks.update, tested)],
    }
    for beside, rows in broken.items():
        with ExitStack() as selling:
            selling.enter_context(checks.load(tested, beside))
            for row in rows:
                check(*row)
            check(f"each request beside the {beside} got a final answer", selling.close)
        check(f"after the {beside} nothing is lost or doubled", tested.all_is_as_answered)
    for service in SHOP:
        name = f"docker compose stop {service}, while clients wait"
        check(name, checks.stops_while_clients_wait, tested, service)
    for service in STORES:
        check(f"docker compose stop {service}", checks.stops_in_time, containers, service)
    check("docker compose up -d after the stops", containers.up)
    check("all services are healthy", containers.wait_until_healthy)
    check("after the stops nothing is lost or doubled", tested.all_is_as_answered)
    # Last, because it loses what came after the backup; the session's orders are not in the comparison.
    check("the README's session", checks.session_works, containers)
    if check("a backup while the shop runs", checks.back_up, containers):
        check("MySQL's volume is lost, and restored", checks.lose_and_restore, tested)
        check("an order is paid after the restore", tested.order_is_paid)


if __name__ == "__main__":
    sys.exit(children.run_command(NAME, main))
