"""What no single load measures of payments: late attempts, refunds beside buyers, and buyers who wait."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from statistics import median
from typing import NamedTuple

from lab import load, stage as stages
from lab.bench import loads
from lab.bench.judging import Measured, Runs
from lab.bench.loads import RUNNING_SAGAS, BenchStage
from lab.bench.rows import REFUNDS, WAITING
from lab.load import Numbers, ratio
from lab.stack import database
from scripts.stack import children, waiting

LOOK_SECONDS = 0.1
# The refunds begin so long after the load: k6 starts in this time.
REFUNDS_BEGIN_SECONDS = 2
REFUNDS_SECONDS = 120
UNLEASED_SECONDS = 30  # until buyers may begin to wait
PLACED_SECONDS = 21  # until their orders are placed, or fewer are watched
WATCHED_SECONDS = 3
NULL_SECONDS = 2
NULL_VUS = 4

# Those that no worker has: new ones, and those that wait for their next attempt.
UNLEASED_SAGAS = """
SELECT id, attempts, next_attempt_at, created_at FROM orders_saga
WHERE next_attempt_at IS NOT NULL AND lease_token = '' AND created_at >= %s
"""
LEASED_SAGAS = """
SELECT COUNT(*) FROM orders_saga WHERE next_attempt_at IS NOT NULL AND leased_until > UTC_TIMESTAMP(6)
"""
CHARGE_ATTEMPTS = """
SELECT saga_id, attempt, at FROM orders_sagalog
WHERE step = 'charge_card' AND direction = 'do' AND saga_id IN %s
"""
PAID_ORDERS = "SELECT id FROM orders_order WHERE placed_at >= %s AND status = 'paid' LIMIT %s"
SETTLED_REFUNDS = """
SELECT COUNT(*) AS settled,
    COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(created_at), MAX(settled_at)), 0) / 1e6 AS seconds
FROM orders_refund WHERE created_at >= %s AND settled_at IS NOT NULL
"""


class UnleasedSaga(NamedTuple):
    id: str
    attempts: int
    next_attempt_at: datetime
    created_at: datetime


class ChargeAttempt(NamedTuple):
    """The number of an attempt at the charge of a saga, 0 for the final one, and when it was recorded."""

    saga_id: str
    attempt: int
    at: datetime


class SettledRefunds(NamedTuple):
    """Their number, and the seconds from the first one asked for to the last one settled."""

    settled: int
    seconds: float


class Arrivals:
    """What was seen of sagas while payments arrived."""

    def __init__(self, since: datetime) -> None:
        self.last = since  # when the last payment arrived
        self.waiting_new = [0]
        # When each attempt was due, by its saga and the attempts before it.
        self.due: dict[tuple[str, int], datetime] = {}

    def watch(self, stage: BenchStage, since: datetime, arriving: "Future[Measured]") -> None:
        while not arriving.done():
            new = []
            for saga in stage.read(UnleasedSaga, UNLEASED_SAGAS, since):
                if saga.attempts:
                    # An attempt that is put off was due at first.
                    self.due.setdefault((saga.id, saga.attempts), saga.next_attempt_at)
                else:
                    new.append(saga.created_at)
            if new:
                self.waiting_new.append(len(new))
                self.last = max(self.last, *new)
            time.sleep(LOOK_SECONDS)

    def late_seconds(self, stage: BenchStage) -> list[float]:
        """How late each attempt was that came due while others arrived, the least late first."""
        now = stage.now()
        sagas = [saga for saga, _ in self.due] or [""]
        recorded = {}
        for attempt in stage.read(ChargeAttempt, CHARGE_ATTEMPTS, sagas):
            recorded[attempt.saga_id, attempt.attempt] = attempt.at
        late = []
        for (saga, attempts), due_at in self.due.items():
            if due_at <= self.last:
                tried_at = recorded.get((saga, attempts + 1), recorded.get((saga, 0), now))
                late.append((tried_at - due_at).total_seconds())
        return sorted(late)


def recovery(stage: BenchStage) -> Runs:
    """How late payments are tried again whose first calls failed, while more arrive than are settled."""
    for _ in range(stage.size.rounds):
        since = stage.now()
        arrivals = Arrivals(since)
        with ThreadPoolExecutor(1) as threads:
            arriving = threads.submit(loads.measure, stage, "recovery")
            arrivals.watch(stage, since, arriving)
        arrived = arriving.result()
        late = arrivals.late_seconds(stage)
        findings = [*arrived.findings]
        if not late:
            findings.insert(0, "recovery: no payment was to be tried again")
        seconds = late or [0.0]
        p95_seconds = seconds[len(seconds) * 95 // 100]
        yield Measured(
            row="recovery",
            figures={
                "per_second": arrived.figures["per_second"],
                "overloaded": arrived.figures["overloaded"],
                "waiting": median(arrivals.waiting_new),
                "retries": len(late),
                "late_p50_seconds": median(seconds),
                "late_p95_seconds": p95_seconds,
                "late_max_seconds": seconds[-1],
            },
            findings=findings,
        )


def refunds(stage: BenchStage) -> Runs:
    """What refunds asked for at once cost buyers who wait, and how soon they are settled."""
    for _ in range(stage.size.rounds):
        since = stage.now()
        quiet = loads.measure(stage, "refunds")
        orders = [str(id) for (id,) in stage.rows(PAID_ORDERS, since, stage.size.refunds)]
        with ThreadPoolExecutor(1) as threads:
            buying = threads.submit(loads.measure, stage, "refunds")
            time.sleep(REFUNDS_BEGIN_SECONDS)
            staff = [{"access": stage.shop.token}] * len(orders)
            # Many at once.
            askers = min(int(REFUNDS.k6["VUS"]), len(orders))
            within_seconds = REFUNDS_SECONDS + loads.GRACE_SECONDS
            refunding = load.run(
                "refunds",
                stage.instance,
                within_seconds=within_seconds,
                ORDERS=stage.write("orders", orders),
                TOKENS=stage.tokens_of(staff, "staff"),
                VUS=askers,
                SECONDS=REFUNDS_SECONDS,
                RUN=f"refunds-{time.time_ns()}",
            )
            accepted = refunding.succeeded
            beside = buying.result()
        [done] = stage.read(SettledRefunds, SETTLED_REFUNDS, since)
        findings = [*quiet.findings, *beside.findings]
        if not accepted == len(orders) == done.settled:
            ends = f"{accepted} of {len(orders)} are accepted, and {done.settled} settled"
            findings.insert(0, f"refunds: {ends}")
        yield Measured(
            row="refunds",
            figures={
                "refunds": done.settled,
                "refunds_per_second": ratio(done.settled, float(done.seconds)),
                **_beside_quiet(beside.figures, quiet.figures, "per_second", "rate_of_quiet"),
                **_beside_quiet(beside.figures, quiet.figures, "p95_ms", "p95_of_quiet"),
            },
            findings=findings,
        )


def _beside_quiet(beside: Numbers, quiet: Numbers, name: str, quotient: str) -> dict[str, float]:
    return {quotient: ratio(beside[name], quiet[name]), name: beside[name], f"quiet_{name}": quiet[name]}


def buyers_waiting(stage: BenchStage) -> Runs:
    """How many buyers wait for their payment at once, and what that takes above an idle shop.

    The worker is stopped while orders with points, a card and `Prefer: wait` are sent on a connection each;
    web advances only those without points, so no payment settles. The worker goes on before the first has
    waited long enough to be answered 202.
    """
    number = stage.size.connections
    tokens = stage.tokens_of(stage.users[:number], "waiting")
    web = stages.processes(stage.instance, "web")

    def held_kib() -> float:
        """The memory of web (PSS): a page that several processes hold counts once."""
        return sum(stages.kib(web, "smaps_rollup", "Pss"))

    def null_p95_ms() -> float:
        """Of calls by few buyers: how long another call takes while all those wait."""
        return load.run(
            "null",
            stage.instance,
            within_seconds=60,
            SECONDS=NULL_SECONDS,
            VUS=NULL_VUS,
            AGAIN=1,
            TOKENS=tokens,
        ).number("http_req_duration", "p(95)")

    database.wait_until_worked_off(stage.instance)
    before_ms = null_p95_ms()
    idle_kib = held_kib()
    open_orders = partial(stage.number, RUNNING_SAGAS, stage.now())
    with ThreadPoolExecutor(1) as threads:
        with stages.frozen(children.group_of(stage.instance.run, "worker")):
            # Until no saga has a live lease payments are refused, as the worker seems too slow.
            waiting.left(partial(stage.number, LEASED_SAGAS), within_seconds=UNLEASED_SECONDS)
            sent = threads.submit(
                loads.measure, stage, "waiting", TOKENS=tokens, EACH=number // int(WAITING.k6["VUS"])
            )
            waiting.left(lambda: not open_orders(), within_seconds=PLACED_SECONDS)
            waiting.left(lambda: open_orders() < number, within_seconds=PLACED_SECONDS)
            figures = loads.cores_of(stage, WATCHED_SECONDS)
            kib = held_kib() - idle_kib
            at_once = open_orders()
            beside_ms = null_p95_ms()
        answered = sent.result()
    alone_ms = (before_ms + null_p95_ms()) / 2
    figures["waiting_cores"] = sum(figures.values())
    figures["waiting_kib"] = ratio(kib, at_once)
    figures["waiting"] = at_once
    figures["of_null_alone"] = ratio(beside_ms, alone_ms)
    yield Measured(row="waiting", figures=figures, findings=answered.findings)
