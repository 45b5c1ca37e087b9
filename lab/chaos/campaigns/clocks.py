"""Wall clocks of processes, moved while they run: as bad clocks drift, or by a jump. And a second worker; and
what may not happen early, of which triggers in the database write the instant, by the database's clock."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from lab.calls import Findings
from lab.stack import database, faketime
from scripts.stack import Settings, children, places, processes, supervision, waiting
from scripts.stack.instance import Instance

FAR_SECONDS = 150  # How far a clock is off in the end: two that drift apart are five minutes apart
SECOND_LOG = "clock-jump-worker.log"
TABLE = "campaign_instant"
Steps = Iterator[None]  # Of a fault: it is there at the yield, and undone after it
DRIFT_STEPS = 15


class Change(NamedTuple):
    """What may not happen early: the event of a trigger, the condition on the row by which it is this change,
    and the instant before which it may not happen."""

    kind: str
    event: str
    when: str
    due_at: str


CHANGES = (
    Change(
        kind="order expired",
        event="UPDATE ON orders_order",
        when="NEW.status = 'expired' AND OLD.status <> 'expired'",
        due_at="OLD.expires_at",
    ),
    Change(
        kind="payment given up",
        event="UPDATE ON orders_saga",
        when="NEW.failure_code = 'gave_up' AND OLD.failure_code <> 'gave_up'",
        due_at="OLD.deadline_at",
    ),
    # A worker leases it for the call that it had opened before.
    Change(
        kind="saga retried",
        event="UPDATE ON orders_saga",
        when="""
NEW.lease_token <> '' AND NEW.lease_token <> OLD.lease_token
AND OLD.lease_token = '' AND OLD.open_call <> '' AND NEW.open_call = OLD.open_call
""",
        due_at="OLD.next_attempt_at",
    ),
    Change(
        kind="lease of a saga taken over",
        event="UPDATE ON orders_saga",
        when="NEW.lease_token <> '' AND NEW.lease_token <> OLD.lease_token AND OLD.lease_token <> ''",
        due_at="OLD.leased_until",
    ),
)
# Of each table the end of a row's time, before which it may not be deleted. An expression begins with a
# column, because `OLD.` is put before it.
EXPIRIES = {
    "shop_idempotencykey": "created_at + INTERVAL 1 DAY",
    "shop_committedtransaction": "at + INTERVAL 1 DAY",
    "accounts_revokedtoken": "expires_at",
    "payments_reconciliation": "started_at + INTERVAL 30 DAY",
    "payments_webhookevent": "received_at + INTERVAL 90 DAY",
}
EARLY = f"SELECT kind, subject, due_at, at FROM {TABLE} WHERE at < due_at - INTERVAL 1 SECOND"  # noqa: S608


class Early(NamedTuple):
    kind: str
    subject: str
    due_at: datetime
    at: datetime


def set_clocks(instance: Instance, clocks: Mapping[str, int]) -> None:
    """Have processes see these wall clocks so many seconds ahead, from within a second or two on."""
    instance.run.mkdir(parents=True, exist_ok=True)
    for clock, seconds in clocks.items():
        places.write_whole(instance.run / f"{clock}.offset", f"{seconds:+d}\n")


def drift(instance: Instance, clocks: Mapping[str, int], *, back: bool = False) -> None:
    """Move these wall clocks step by step from the right time to so many seconds ahead, or `back`."""
    steps = range(1, DRIFT_STEPS + 1)
    if back:
        steps = range(DRIFT_STEPS - 1, -1, -1)
    for step in steps:
        set_clocks(instance, {clock: round(step / DRIFT_STEPS * ahead) for clock, ahead in clocks.items()})
        time.sleep(0.25)


def off(seconds: int, clock: str, instance: Instance) -> Steps:
    """The clock of this name is off by so much, after a drift there; then it drifts back."""
    drift(instance, {clock: seconds})
    yield
    drift(instance, {clock: seconds}, back=True)


def stepped(seconds: int, clock: str, instance: Instance) -> Steps:
    """The clock of this name is ahead by so much from now on."""
    set_clocks(instance, {clock: seconds})
    yield


@contextmanager
def moved(instance: Instance, clocks: str) -> Iterator[Settings]:
    """The settings with which processes of a stack have clocks that can be moved, as `worker=late redis=all`
    says; right at first. Raises SetupError without libfaketime, whose rest it removes."""
    faketime.require()
    set_clocks(instance, {word.partition("=")[2]: 0 for word in clocks.split()})
    try:
        yield {processes.BECOMES: faketime.__name__, faketime.CLOCKS: clocks}
    finally:
        faketime.remove_shared_memory()


@contextmanager
def second_worker(instance: Instance, clock: str) -> Iterator[None]:
    """A worker beside the stack's, as that but for its name and its clock. Raises SetupError."""
    log = instance.logs / SECOND_LOG
    started: list[subprocess.Popen[bytes]] = []
    environment = supervision.environment(instance)
    command = [*processes.command("worker", instance, environment), "--hostname", "clock-jump@%h"]
    # Its log has to say when it is ready.
    environment |= {**faketime.environment(instance.run, clock), "LOG_LEVEL": "INFO"}
    set_clocks(instance, {clock: 0})
    log.touch()
    began = log.stat().st_size

    def is_ready() -> bool:
        # Other faults may keep it from starting.
        if not started or started[-1].poll() is not None:
            started.append(children.start(faketime.command(command), log=log, environment=environment))
        return b" ready." in log.read_bytes()[began:]

    try:
        waiting.until(is_ready, f"no second worker is ready: see {log}", within_seconds=60, pause_seconds=0.5)
        yield
    finally:
        for child in started:
            child.kill()
            child.wait()
        faketime.remove_shared_memory()


def worker_ahead(_: str, instance: Instance) -> Steps:
    """A second worker is at work, its clock right at first, then five minutes ahead. Raises SetupError."""
    with second_worker(instance, "clock-jump"):
        time.sleep(3)
        set_clocks(instance, {"clock-jump": 300})
        yield


def watch_early(instance: Instance) -> None:
    columns = "kind VARCHAR(40), subject VARCHAR(64), due_at DATETIME(6), at DATETIME(6)"
    database.rows(instance, f"CREATE TABLE {TABLE} ({columns})")
    changes = [*CHANGES]
    for table, end in EXPIRIES.items():
        changes.append(Change(f"{table} swept", f"DELETE ON {table}", "TRUE", f"OLD.{end}"))
    for number, change in enumerate(changes):
        values = f"'{change.kind}', OLD.id, {change.due_at}, UTC_TIMESTAMP(6)"
        insert = f"IF {change.when} THEN INSERT INTO {TABLE} VALUES ({values}); END IF;"  # noqa: S608
        trigger = f"campaign_{number} AFTER {change.event} FOR EACH ROW BEGIN {insert} END"
        database.rows(instance, f"CREATE TRIGGER {trigger}")


def early(instance: Instance, seen: Sequence[str] = ()) -> Findings:
    """Each that happened earlier than it may, and each of these kinds that has not happened at all."""
    kinds = Counter(kind for (kind,) in database.rows(instance, f"SELECT kind FROM {TABLE}"))  # noqa: S608
    children.say(f"written: {dict(kinds)}")
    for kind in seen:
        if kind not in kinds:
            yield f"nothing shows whether it is early: {kind}"
    # A process knows the database's time but for its round trip to it, which a busy machine makes long.
    for row in database.read(instance, Early, EARLY):
        yield f"early: {row.kind}: {row.subject} at {row.at}, due at {row.due_at}"
