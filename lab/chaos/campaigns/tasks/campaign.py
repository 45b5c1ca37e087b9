"""The campaign `tasks`: each message twice, late and out of order, to two workers whose clocks drift."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from lab.chaos import clock_jump, comparison
from lab.chaos.campaigns import clocks, early, patches
from lab.chaos.campaigns.beside import Beside, Run
from lab.chaos.campaigns.tasks import relay
from lab.chaos.campaigns.tasks.relay import Deliveries, Relay
from lab.chaos.memory import Setup
from lab.chaos.shop import Shop
from scripts.stack import SetupError, children, database, supervision
from scripts.stack.environment import FAKE_CLOCKS, clock_file
from scripts.stack.instance import Instance
from scripts.stack.programs import faketime

LONGEST_SECONDS, QUICK_LONGEST_SECONDS = 60.0, 8.0
"""How late a message is at most."""
RARE = ("payments.sweep",)
"""Tasks that beat sends less often than a campaign lasts: it sends each itself."""
REGULAR = ("orders.sweep", "coupons.sweep", "shop.sweep")
"""Tasks that beat sends every few seconds, whether they have work or not."""
SILENT_SECONDS = 12
FEW = 10
"""So many messages, twice, are shared by both workers."""
OWN_WORKER, SECOND_WORKER, BEAT = "worker", "second", "beat"
"""The names of the clocks."""
DRIFTS = {OWN_WORKER: -clocks.FAR_SECONDS, SECOND_WORKER: clocks.FAR_SECONDS}
RETENTION_SECONDS = 86_400
SWEPT_WITHIN_SECONDS = 30
"""Beside the delay of the message: a key may be there for so long after its time."""
SEEN = ("order expired", "payment given up", "saga retried", "idempotency key swept")
"""What has to happen in a campaign, for it is to be seen that it isn't early."""
CELERY_SECONDS = 60
SUCCEEDED = re.compile(r"Task ([\w.]+)\[([0-9a-f-]{36})\] succeeded")
REGISTERED = re.compile(r"^  \. ([\w.]+)$", re.MULTILINE)
CHARGED_TWICE = re.compile(r"charged [2-9] times instead of 1")
DEFECTS = ("host-clock", "no-leases")


@contextmanager
def beside(instance: Instance, run: Run) -> Iterator[Beside]:
    """The relay, the second worker and the clocks of the campaign. Raises SetupError without libfaketime."""
    faketime.require()
    clocks.set_clocks(instance, dict.fromkeys((OWN_WORKER, SECOND_WORKER, BEAT), 0))
    seen: list[Relay] = []

    @contextmanager
    def around() -> Iterator[None]:
        with _at_work(instance, run) as relayed:
            seen.append(relayed)
            yield

    with clocks.without_leftovers():
        yield Beside(
            settings={
                FAKE_CLOCKS: f"worker={OWN_WORKER} beat={BEAT}",
                "CELERY_BROKER_READ_URL": _read_url(instance),
                "IDEMPOTENCY_RETENTION_SECONDS": str(RETENTION_SECONDS),
                "LOG_LEVEL": "INFO",
                **(patches.settings(*DEFECTS) if run.is_planted else {}),
            },
            around=around,
            findings=lambda: _findings(instance, seen[0]),
            finds_planted=lambda setup, shop: _finds_planted(instance, setup, shop),
        )


@contextmanager
def _at_work(instance: Instance, run: Run) -> Iterator[Relay]:
    early.watch(instance, retention_seconds=RETENTION_SECONDS)
    longest = QUICK_LONGEST_SECONDS if run.is_quick else LONGEST_SECONDS
    with (
        relay.running(instance, seed=run.seed, longest_seconds=longest) as relayed,
        clock_jump.second_worker(instance, clock_file(instance, SECOND_WORKER)),
    ):
        clocks.drift(instance, DRIFTS)
        [(account,)] = database.rows(instance, "SELECT MIN(id) FROM auth_user")
        early.insert_old_keys(
            instance,
            account_id=account,
            retention_seconds=RETENTION_SECONDS,
            within_seconds=2 * clocks.FAR_SECONDS,
        )
        for task in RARE:
            _call(instance, task)
        yield relayed


def _findings(instance: Instance, relayed: Relay) -> Iterator[str]:
    """Each task that was not delivered or run as the campaign promises, and all that happened early."""
    logs = [instance.logs / "worker.log", clock_jump.log_of(instance)]
    runs = runs_by_task(logs)
    for task in registered_tasks(logs):
        delivered = relayed.by_task.get(task, Deliveries())
        twice = sum(count > 1 for count in runs.get(task, {}).values())
        print(
            f"{task}: {delivered.messages} messages in {delivered.copies} copies, {delivered.overtaken} "
            f"overtaken, up to {delivered.latest_seconds:.1f} s late; {twice} run twice",
            flush=True,
        )
        if not twice or not delivered.latest_seconds:
            yield f"the messages of {task} were not run twice: {delivered}"
    if not any(one.overtaken for one in relayed.by_task.values()):
        yield "no message overtook another"
    yield from idle_workers(relayed.by_task, [runs_by_task([log]) for log in logs])
    for task, delivered in relayed.by_task.items():
        if delivered.expired:
            yield f"{delivered.expired} messages of {task} had expired when they were sent"
        if task in REGULAR and delivered.gap_seconds > SILENT_SECONDS:
            yield f"beat sent no {task} for {delivered.gap_seconds:.0f} s"
    happened = early.counts(instance)
    print(", ".join(f"{count} x {kind}" for kind, count in happened.items()), flush=True)
    yield from (f"nothing shows whether it is early: {kind}" for kind in SEEN if not happened.get(kind))
    yield from early.findings(instance)
    late_keys = database.rows(
        instance,
        "SELECT COUNT(*) FROM shop_idempotencykey WHERE created_at < UTC_TIMESTAMP(6) - INTERVAL %s SECOND",
        RETENTION_SECONDS + SWEPT_WITHIN_SECONDS + relayed.longest_seconds,
    )[0][0]
    if late_keys:
        yield f"{late_keys} idempotency keys are there after their retention"


def idle_workers(
    delivered: Mapping[str, Deliveries], runs: Sequence[Mapping[str, Counter[str]]]
) -> Iterator[str]:
    """Each task with many messages of which one of the workers has run none: it drops them."""
    for task, one in delivered.items():
        if one.messages >= FEW and not all(by_task.get(task) for by_task in runs):
            yield f"a worker has run none of the {one.messages} messages of {task}"


def _finds_planted(instance: Instance, setup: Setup, shop: Shop) -> bool:
    """Whether both are found: workers that are early by their own clocks, and charges that are made twice."""
    too_early = [*early.findings(instance)]
    doubled = [one for one in comparison.of_outside(setup, shop) if CHARGED_TWICE.search(one)]
    print(
        f"{len(too_early)} early, as: {too_early[:1]}; {len(doubled)} doubled, as: {doubled[:1]}", flush=True
    )
    return bool(too_early and doubled)


def runs_by_task(logs: Sequence[Path]) -> Mapping[str, Counter[str]]:
    """How often each message was run, by its task and id, from the logs of workers."""
    found: dict[str, Counter[str]] = {}
    for log in logs:
        # Supervisor keeps one log more, where the first has become too long.
        for path in (log, log.with_name(f"{log.name}.1")):
            if path.exists():
                for task, message in SUCCEEDED.findall(path.read_text(errors="replace")):
                    found.setdefault(task, Counter())[message] += 1
    return found


def registered_tasks(logs: Sequence[Path]) -> list[str]:
    """The tasks that the workers with these logs have registered. Raises SetupError where they differ."""
    each = [sorted(set(REGISTERED.findall(log.read_text(errors="replace")))) for log in logs]
    if not each[0] or any(names != each[0] for names in each):
        raise SetupError(f"the workers have not registered the same tasks: {each}")
    return each[0]


def _call(instance: Instance, task: str) -> None:
    """Send the message of the task. Raises SetupError."""
    command = [sys.executable, "-m", "celery", "-A", "shop", "call", task]
    environment = {**os.environ, **supervision.environment(instance)}
    children.printed(children.run(command, within_seconds=CELERY_SECONDS, environment=environment))


def _read_url(instance: Instance) -> str:
    """The broker that workers read."""
    return f"redis+socket://{quote(str(instance.redis_socket))}?virtual_host={relay.READ}"
