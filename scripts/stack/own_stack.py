"""A whole stack of its own, started and stopped as a user would: for smoke, bench, lab and chaos trials."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.stack import (
    SetupError,
    children,
    environment,
    instance as instances,
    places,
    ports,
    process_identity,
    supervision,
)
from scripts.stack.instance import Instance

READY_SECONDS = 240
"""The first run makes a database and seeds it, on a machine that may be slow and busy."""
STOP_SECONDS = 20
MANAGE_SECONDS = 300
RATES = ("COUPONS", "ORDERS", "PAYMENTS", "TOP_UPS", "DECLINES", "WRONG_CODES", "ANONYMOUS", "API_KEYS")
NO_RATES = {f"RATE_{name}": "" for name in RATES}
"""For loads in which a few accounts call as often as many would."""
OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS")
"""What an outer make would pass to the inner one."""
Manage = Callable[..., subprocess.CompletedProcess[str]]
"""`manage`, or the same of another release: an instance and the command's words."""


def measure(
    command: str,
    name: str,
    run: Callable[[Instance], int],
    *,
    database: str = "mariadb",
    folder: Path | None = None,
    keeps_failed: bool = False,
) -> int:
    """Run it with an instance in a new folder, which is then removed, or kept; the command's exit code."""
    # Beside the other state, on a real disk: /tmp may be memory, where a commit costs nothing.
    beside = folder or places.private_folder(places.state())
    home, code = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=beside)).resolve(), 0

    def run_there() -> int:
        port = str(ports.free(instances.PORTS))
        return run(instances.choose(home=home, port=port, database=database))

    try:
        code = children.run_command(f"{command}: failed", run_there, more=lambda: ends_of_logs(home))
    finally:
        if code == 1 and keeps_failed:
            print(f"{command}: the stack's state and logs are kept in {home}", flush=True)
        else:
            shutil.rmtree(home, ignore_errors=True)
    return code


@contextmanager
def running(instance: Instance, **settings: str) -> Iterator[str]:
    """`make run` in the instance's project, from its start to Ctrl-C, which has to leave nothing behind;
    yields its output. Raises SetupError."""
    words = ["make", "run", f"PORT={instance.port}", f"DB={instance.database}", f"VAR={instance.home}"]
    log, own = instance.home / "make-run.log", own_environment(instance, settings)
    log.write_bytes(b"")
    folder, then = instance.project, signal.SIGTERM
    child = children.start(words, log=log, environment=own, when_parent_dies=then, folder=folder)

    def is_ready() -> bool:
        return "Ctrl-C stops everything." in log.read_text()

    try:
        children.wait_until(is_ready, name="make run", child=child, log=log, within_seconds=READY_SECONDS)
        yield log.read_text()
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        try:
            child.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise SetupError(f"make run goes on {STOP_SECONDS} s after Ctrl-C") from None
        if left := process_identity.of_state(instance.home):
            raise SetupError(f"processes are left after Ctrl-C: {sorted(left)}")
        for port in instance.ports:
            ports.require_free(port)
    finally:
        if child.poll() is None:
            children.stop(child, within_seconds=STOP_SECONDS)
        supervision.clear_leftovers(instance)


def manage(
    instance: Instance, arguments: str, *, within_seconds: float = MANAGE_SECONDS, **settings: str
) -> subprocess.CompletedProcess[str]:
    """`make manage ARGS=…` in that stack, to its end. Raises SetupError when that takes too long."""
    words = ["make", "manage", f"VAR={instance.home}", f"ARGS={arguments}"]
    own = own_environment(instance, settings)
    return children.run(words, within_seconds=within_seconds, environment=own, folder=instance.project)


def audit(instance: Instance, *, within_seconds: float = MANAGE_SECONDS) -> list[dict[str, Any]]:
    """The result of `manage.py audit` for every law. Raises SetupError when there is none."""
    ran = manage(instance, "audit --json", within_seconds=within_seconds)
    try:
        laws: list[dict[str, Any]] = json.loads(ran.stdout)["laws"]
    except ValueError:
        raise SetupError(f"audit ended with {ran.returncode}: {ran.stdout}{ran.stderr}") from None
    return laws


def broken(laws: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence about each law that doesn't hold."""
    return [f"{law['law']} is broken: {law['offenders'][:10]}" for law in laws if not law["holds"]]


def seed(instance: Instance, users: int, *, manage: Manage = manage, **more: Any) -> Any:
    """The ids and tokens of so many accounts that `seed_demo` makes. Raises SetupError."""
    tokens = instance.home / "tokens.json"
    children.printed(manage(instance, f"seed_demo --users {users} --tokens {tokens}", **more))
    return json.loads(tokens.read_text())


def paste(instance: Instance, lines: str) -> subprocess.CompletedProcess[str]:
    """Shell lines in the project beside that stack, up to the first that fails. Raises SetupError."""
    own = own_environment(instance, {"FIRSTCOME_VAR": str(instance.home)})
    words = ["sh", "-euc", lines]
    return children.run(words, within_seconds=MANAGE_SECONDS, environment=own, folder=instance.project)


def ends_of_logs(home: Path) -> str:
    logs = sorted((home / "log").glob("*.log"))
    return "".join(f"\n--- {log.name}\n{children.tail(log, 8)}" for log in logs)


def own_environment(instance: Instance, settings: Mapping[str, str]) -> dict[str, str]:
    """Exported settings win over a developer's `.env`, so this never meets a database of theirs.

    Another checkout has no `.env` and chooses defaults of its own, so none are exported to it.
    """
    defaults = environment.defaults(instance)
    own = {name: value for name, value in os.environ.items() if name not in (*defaults, *OF_MAKE)}
    if instance.project == places.PROJECT:
        own |= defaults
    return {**own, **settings}
