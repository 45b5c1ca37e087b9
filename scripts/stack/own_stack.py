"""A whole stack of its own, started and stopped as a user would: for smoke, bench, lab and chaos trials."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from scripts.stack import (
    Environment,
    Json,
    Lines,
    Settings,
    SetupError,
    children,
    environment,
    instance as instances,
    places,
    ports,
    supervision,
    waiting,
)
from scripts.stack.children import say
from scripts.stack.instance import Instance

READY_SECONDS = 240
STOP_SECONDS = 20
MANAGE_SECONDS = 300  # The first run makes a database and seeds it, on a machine that may be slow and busy
RATES = ("COUPONS", "ORDERS", "PAYMENTS", "TOP_UPS", "DECLINES", "WRONG_CODES", "ANONYMOUS", "API_KEYS")
# For loads in which a few accounts call as often as many would.
NO_RATES = {f"RATE_{name}": "" for name in RATES}
# What an outer make would pass to the inner one.
OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "DB", "ONLY", "SEED")
Item = TypeVar("Item")


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
    home = Path(
        tempfile.mkdtemp(prefix=f"{name}-", dir=folder or places.private_folder(places.state()))
    ).resolve()
    code = 0

    def run_there() -> int:
        return run(instances.choose(home=home, port=str(ports.free(instances.PORTS)), database=database))

    def ends_of_logs() -> str:
        return "".join(
            f"\n--- {log.name}\n{children.tail(log, 8)}" for log in sorted((home / "log").glob("*.log"))
        )

    try:
        code = children.run_command(f"{command}: failed", run_there, more=ends_of_logs)
    finally:
        if code == 1 and keeps_failed:
            say(f"{command}: the stack's state and logs are kept in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    return code


@contextmanager
def running(instance: Instance, **settings: str) -> Iterator[str]:
    """`make run` in the instance's project, from its start to Ctrl-C, which has to leave nothing behind;
    yields its output. Raises SetupError."""
    words = ["make", "run", f"PORT={instance.port}", f"DB={instance.database}", f"VAR={instance.home}"]
    log = instance.home / "make-run.log"
    own = own_environment(instance, settings)
    log.write_bytes(b"")
    making = children.running(
        words,
        name="make run",
        log=log,
        is_ready=lambda: "Ctrl-C stops everything." in log.read_text(),
        within_seconds=READY_SECONDS,
        stop_seconds=STOP_SECONDS,
        environment=own,
        folder=instance.project,
        when_parent_dies=signal.SIGTERM,
    )
    try:
        with making as child:
            yield log.read_text()
            os.killpg(child.pid, signal.SIGINT)  # as a terminal does
            late = f"make run goes on {STOP_SECONDS} s after Ctrl-C"
            waiting.until(lambda: child.poll() is not None, late, within_seconds=STOP_SECONDS)
        left = children.of_state(instance.home)
        if left:
            raise SetupError(f"processes are left after Ctrl-C: {sorted(left)}")
        for port in instance.ports:
            ports.require_free(port)
    finally:
        supervision.clear_leftovers(instance)


def manage(
    instance: Instance, arguments: str, *, within_seconds: float = MANAGE_SECONDS, **settings: str
) -> children.Ran:
    """`make manage ARGS=…` in that stack, to its end. Raises SetupError when that takes too long."""
    words = ["make", "manage", f"VAR={instance.home}", f"ARGS={arguments}"]
    return children.run(
        words,
        within_seconds=within_seconds,
        environment=own_environment(instance, settings),
        folder=instance.project,
    )


def audit(instance: Instance, *, within_seconds: float = MANAGE_SECONDS) -> list[Json]:
    """The result of `manage.py audit` for every law. Raises SetupError when there is none."""
    ran = manage(instance, "audit --json", within_seconds=within_seconds)
    if not ran.stdout.startswith("{"):
        raise SetupError(f"audit ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    laws: list[Json] = json.loads(ran.stdout)["laws"]
    return laws


def broken(laws: Iterable[Mapping[str, Any]]) -> Lines:
    result = []
    for law in laws:
        if not law["holds"]:
            result.append(f"{law['law']} is broken: {law['offenders'][:10]}")
    return result


def paste(instance: Instance, lines: str) -> children.Ran:
    """Shell lines in the project beside that stack, up to the first that fails. Raises SetupError."""
    return children.run(
        ["sh", "-euc", lines],
        within_seconds=MANAGE_SECONDS,
        environment=own_environment(instance, {"FIRSTCOME_VAR": str(instance.home)}),
        folder=instance.project,
    )


def chosen(items: Sequence[Item], part: str) -> list[Item]:
    """Every Nth of the items from the Kth on, for the part `K/N` (`PART=3/12` of make); all for "". Raises
    SetupError."""
    first, _, step = (part or "1/1").partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise SetupError(f"PART={part} is no part: say 3/12 for the third of twelve")
    return [*items[int(first) - 1 :: int(step)]]


def own_environment(instance: Instance, settings: Environment) -> Settings:
    """Exported settings win over a developer's `.env`, so this never meets a database of theirs.

    Another checkout has no `.env` and chooses defaults of its own, so none are exported to it.
    """
    defaults = environment.defaults(instance)
    own = environment.exported(without=(*defaults, *OF_MAKE))
    if instance.project == places.PROJECT:
        own |= defaults
    return {**own, **settings}
