"""`make board-cost`: the processor time that viewers of the launch board cost a web process.

One web process of a stack of its own is measured without viewers, with 1 and with 50, and then with 50 while
buyers take coupons, when it counts how regularly the snapshots come. It ends with 1 when a goal is missed.
"""

import argparse
import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from scripts.bench import commits, sizes, stage, watching
from scripts.bench.stage import Stage
from scripts.bench.workloads import loads
from scripts.stack import SetupError, own_stack, places, ports
from scripts.stack.instance import Instance

SECONDS = 20
VIEWERS = 50
OF_ACCOUNT = 5
BUYERS, PAUSE_SECONDS = 2_000, 4
"""Buyers, and how long each rests between two requests."""
GOAL_PERCENT = 1.0
GOAL_MEDIAN_SECONDS, GOAL_LONGEST_SECONDS = 1.1, 3.0
"""Between two snapshots, beside the buyers."""
PATH = "/admin/board/stream/"
MARK = b"event: snapshot"
SETTLING_SECONDS = 5.0
"""After streams are opened: their history is sent, and what they took at first is over."""
# Accounts that may watch, signed in: the keys of their sessions.
SIGN_IN = """
import json, sys
import django
django.setup()
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

keys = []
for number in range(int(sys.argv[1])):
    account, _ = User.objects.get_or_create(
        username=f"board-viewer-{number}", defaults={"is_staff": True, "is_superuser": True}
    )
    session = SessionStore()
    session[SESSION_KEY] = str(account.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = account.get_session_auth_hash()
    session.create()
    keys.append(session.session_key)
print(json.dumps(keys))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make board-cost", description=__doc__.splitlines()[2])
    parser.add_argument(
        "--seconds", default="", help=f"how long each number of viewers is measured ({SECONDS})"
    )
    seconds = parser.parse_args().seconds or str(SECONDS)
    if not seconds.isdecimal() or int(seconds) < 3:
        parser.error("SECONDS is a number of at least 3")
    return own_stack.measure("board-cost", "board-cost", lambda instance: _run(instance, int(seconds)))


@dataclass
class Watch:
    """Open streams, and when the snapshots of one of them came."""

    arrivals: list[float] = field(default_factory=list)
    received: int = 0

    def gaps(self) -> list[float]:
        """The seconds between two snapshots."""
        return [after - before for before, after in pairwise(self.arrivals)]


def summary(percents: Sequence[float], *, commit: str) -> str:
    """The cost in a line: of a core, without viewers, with 1, and with all of them."""
    none, one, all_of_them = percents
    return (
        f"of a core, a web process takes {none:.2f} % without viewers, {one:.2f} % with 1 and "
        f"{all_of_them:.2f} % with {VIEWERS} at {commit}: viewers 2 to {VIEWERS} take "
        f"{all_of_them - one:.2f} % together; the goal is below {GOAL_PERCENT} %"
    )


def regularity(gaps: Sequence[float]) -> str:
    """How regularly snapshots came, in a line."""
    if not gaps:
        return "fewer than two snapshots came"
    ordered = sorted(gaps)
    return (
        f"{len(ordered) + 1} snapshots, {median(ordered):.2f} s apart (median), 95 % within "
        f"{ordered[int(0.95 * (len(ordered) - 1))]:.2f} s, the longest {ordered[-1]:.2f} s; the goals are "
        f"{GOAL_MEDIAN_SECONDS} s at most (median) and {GOAL_LONGEST_SECONDS:.0f} s (longest)"
    )


def missed_goals(percents: Sequence[float], gaps: Sequence[float]) -> list[str]:
    """The names of the goals that these figures miss."""
    _, one, all_of_them = percents
    is_met = {
        "processor time": all_of_them - one < GOAL_PERCENT,
        "median": bool(gaps) and median(gaps) <= GOAL_MEDIAN_SECONDS,
        "longest": bool(gaps) and max(gaps) <= GOAL_LONGEST_SECONDS,
    }
    return [name for name, met in is_met.items() if not met]


def _run(instance: Instance, seconds: int) -> int:
    """Measure and print; the exit code."""
    size = replace(sizes.QUICK, seconds=seconds)
    with own_stack.running(instance, **stage.SETTINGS | own_stack.NO_RATES | {"WEB_WORKERS": "1"}):
        here = stage.seeded(instance, size)
        loads.coupons(here, seconds=3)
        keys = _sign_in(here)
        percents = []
        for number in (0, 1, VIEWERS):
            with _watching(instance, keys[:number]):
                percents.append(_percent_of_core(instance, seconds))
            print(f"{number} viewers: {percents[-1]:.2f} % of a core", flush=True)
        print(summary(percents, commit=commits.current()))
        with _watching(instance, keys) as watch:
            watch.arrivals.clear()
            campaign = here.campaign("board", quantity=size.users)
            figures = here.run_k6(
                "coupons", seconds=seconds, vus=BUYERS, CAMPAIGN=campaign, PAUSE=PAUSE_SECONDS, AGAIN=1
            )
            gaps = watch.gaps()
        a_second = figures.requests / max(figures.seconds, 1)
        print(f"beside {BUYERS} buyers with {a_second:.0f} requests a second: {regularity(gaps)}")
    missed = missed_goals(percents, gaps)
    if missed:
        print(f"goals that were missed: {', '.join(missed)}")
    return 1 if missed else 0


def _percent_of_core(instance: Instance, seconds: int) -> float:
    before, began_at = watching.spent(instance)["web"], time.monotonic()
    time.sleep(seconds)
    return 100 * (watching.spent(instance)["web"] - before) / (time.monotonic() - began_at)


def _sign_in(here: Stage) -> list[str]:
    """A key for each viewer: a session of each account opens several streams. Raises SetupError."""
    ran = subprocess.run(
        [sys.executable, "-c", SIGN_IN, str(VIEWERS // OF_ACCOUNT)],
        cwd=places.PROJECT,
        env={**here.environment, "DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise SetupError(f"no viewer could be signed in: {ran.stderr[-500:]}")
    keys: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return [key for key in keys for _ in range(OF_ACCOUNT)]


@contextmanager
def _watching(instance: Instance, keys: Sequence[str]) -> Iterator[Watch]:
    """A stream for each key, read by a thread, from when all have settled. Raises SetupError."""
    watch, ended = Watch(), threading.Event()
    with ExitStack() as opened:
        sockets = [opened.enter_context(_open(instance, key)) for key in keys]
        reader = threading.Thread(target=_read, args=(sockets, watch, ended), daemon=True)
        reader.start()
        time.sleep(SETTLING_SECONDS)
        if keys and not watch.arrivals:
            raise SetupError("the launch board sends no snapshots")
        try:
            yield watch
        finally:
            ended.set()
            reader.join()


def _open(instance: Instance, key: str) -> socket.socket:
    connection = socket.create_connection((ports.HOST, instance.port), timeout=10)
    head = f"GET {PATH} HTTP/1.1\r\nHost: {ports.HOST}\r\nCookie: sessionid={key}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def _read(sockets: Sequence[socket.socket], watch: Watch, ended: threading.Event) -> None:
    """Take what the streams send; note when the first one's snapshots begin."""
    with selectors.DefaultSelector() as selector:
        for connection in sockets:
            selector.register(connection, selectors.EVENT_READ)
        while not ended.is_set():
            for chosen, _ in selector.select(timeout=0.2):
                data = chosen.fileobj.recv(2**18)  # type: ignore[union-attr]
                watch.received += len(data)
                if chosen.fileobj is sockets[0]:
                    watch.arrivals += [time.monotonic()] * data.count(MARK)


if __name__ == "__main__":
    sys.exit(main())
