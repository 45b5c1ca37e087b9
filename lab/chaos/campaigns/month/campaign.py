"""The campaign `month`: thirty days of the shop's time, by jumps of all its clocks between bursts of load."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lab.chaos import faults, trial
from lab.chaos.calls import Observations
from lab.chaos.campaigns import clocks, early, patches
from lab.chaos.campaigns.beside import Beside, Run
from lab.chaos.campaigns.month import bounds, sign_ins
from lab.chaos.campaigns.month.bounds import Sizes
from lab.chaos.campaigns.month.sign_ins import SignedIn
from lab.chaos.clients import Buyer, Staff, at_work, await_final_answer
from lab.chaos.faults import Fault
from lab.chaos.memory import Account, RecordedCall, Setup
from lab.chaos.shop import Shop
from scripts.stack import database, own_stack, waiting
from scripts.stack.environment import FAKE_CLOCKS
from scripts.stack.instance import Instance
from scripts.stack.programs import faketime

ALL = "all"
"""The name of the clock that every process has."""
PROCESSES = ("redis", "mariadb", "gateway", "sink", "partner", "web", "worker", "beat", "issuer")
NEXT_DAY = "the next day after"
"""The sort of fault; its seconds are where the jump to the next day is interrupted, in hours of the night."""
LOAD_SECONDS = 4.0
DAYS_BETWEEN_OUTAGES, OUTAGE_SECONDS = 3, 1.5
GATEWAY_AWAY = Fault("down", "gateway", OUTAGE_SECONDS)
LAPSE = timedelta(minutes=16)
"""Just more than an order is held, a payment is tried, and an access token is good."""
AUDIT_DUE = timedelta(minutes=1)
"""After so long the scheduled audit is due."""
CLIENTS, ACCOUNTS_EACH = 4, 3
COUPONS_A_DAY = 3
STRATEGIES: tuple[dict[str, Any], ...] = (
    {"strategy": "queue"},
    {"strategy": "group_commit"},
    {"strategy": "redis_gate"},
    {"strategy": "code_pool", "code_source": "pool"},
    {"strategy": "pessimistic"},
    {"strategy": "fair_lock"},
    {"strategy": "group_commit", "partner": "convenience_store"},
    {"strategy": "optimistic"},
    {"strategy": "spin_lock"},
    {"strategy": "conditional_update"},
)
"""Of the campaigns of coupons that open, some each day."""
QUANTITY = 8
DELIVERED = 40
"""Units of each product, each day."""
SETTLE_SECONDS, PAUSE_SECONDS = 120, 10
"""How long a day may take to settle; after each pause the clocks jump, so that the next attempts are due."""
MOVE_SECONDS = 20
AUDITED_EACH_DAYS = 5
ARCHIVED_AFTER_DAYS = 30
"""After the end of a month: `archive_month` takes none that ended later."""
ARCHIVED = {
    "journal": "shop_journalline WHERE at",
    "movements": "inventory_stockmovement WHERE at",
    "tickets": "coupons_queueticket WHERE created_at",
}
"""What `archive_month` archives, and what says its month."""
STAYING = ("tickets",)
"""Those of campaigns that closed in the next month stay, as the first day's do."""
RETENTION_SECONDS = 86_400
SEEN = ("order expired", "payment given up", "idempotency key swept", "mark of a transaction swept")
DEFECTS = ("early-sweep", "no-sweep-of-marks")
PASSWORD = "demo-pass-2026"  # noqa: S105 - the demo's, which is published
OPERATOR, OPERATOR_PASSWORD = "staff", "staff-pass-2026"
SETTINGS = {
    "ORDER_HOLD_SECONDS": "900",
    "PAYMENT_GIVE_UP_SECONDS": "900",
    "IDEMPOTENCY_LEASE_SECONDS": "30",
    "IDEMPOTENCY_RETENTION_SECONDS": str(RETENTION_SECONDS),
    "SWEEP_SECONDS": "1",
}
"""Times as a shop has them; it waits for none of them, because the clocks jump."""


@dataclass
class Month:
    """What the campaign has seen so far."""

    instance: Instance
    seed: str
    seen: Observations
    began_at: datetime
    offset_seconds: int
    signed_in: list[SignedIn] = field(default_factory=list)
    days: list[Sizes] = field(default_factory=list)


@contextmanager
def beside(instance: Instance, run: Run) -> Iterator[Beside]:
    """All clocks of the stack are one, which `load` moves. Raises SetupError without libfaketime."""
    faketime.require()
    offset = seconds_to_last_day(datetime.now(UTC))
    clocks.set_clocks(instance, {ALL: offset})
    months: list[Month] = []

    @contextmanager
    def around() -> Iterator[None]:
        early.watch(instance, retention_seconds=RETENTION_SECONDS)
        yield

    def load(injected: Sequence[Fault], setup: Setup, shop: Shop, seen: Observations) -> float:
        months.append(Month(instance, run.seed, seen, _database_time(instance), offset))
        return _run_days(months[0], injected, setup, shop)

    with clocks.without_leftovers():
        yield Beside(
            settings={
                FAKE_CLOCKS: " ".join(f"{name}={ALL}" for name in PROCESSES),
                **SETTINGS,
                **patches.settings("frequently-measured-clock", *(DEFECTS if run.is_planted else ())),
            },
            around=around,
            load=load,
            findings=lambda: _findings(months[0]),
            finds_planted=lambda setup, shop: _finds_planted(months[0]),
        )


def seconds_to_last_day(now: datetime) -> int:
    """How far ahead the clock has to be for it to be the last day of the month, at the same time of day."""
    return (_next_month(now).date() - now.date()).days * 86_400 - 86_400


def _next_month(instant: datetime) -> datetime:
    """The beginning of the month after."""
    in_it = instant.replace(day=1) + timedelta(days=32)
    return in_it.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _run_days(month: Month, injected: Sequence[Fault], setup: Setup, shop: Shop) -> float:
    """Run a day for each fault; the longest time until all of a day was settled."""
    setup.buyers = setup.buyers[: CLIENTS * ACCOUNTS_EACH]
    month.signed_in = [
        sign_ins.sign_in(month.instance, account, f"user-{number}", PASSWORD)
        for number, account in enumerate(setup.buyers, 1)
    ]
    staff = sign_ins.sign_in(month.instance, setup.staff, OPERATOR, OPERATOR_PASSWORD)
    month.signed_in.append(staff)
    shop.token = setup.staff.token
    longest = max(_run_day(month, day, fault, setup, shop) for day, fault in enumerate(injected, 1))
    _renew_tokens(month, shop)
    return longest


def _run_day(month: Month, day: int, fault: Fault, setup: Setup, shop: Shop) -> float:
    began, tomorrow = time.monotonic(), _database_time(month.instance) + timedelta(days=1)
    if day > 1:
        _renew_tokens(month, shop)
    sign_ins.open_session(month.instance, OPERATOR, OPERATOR_PASSWORD)
    earlier = {account.id: len(account.calls) for account in [setup.staff, *setup.buyers]}
    _load(month, day, setup, shop)
    _renew_tokens(month, shop)
    settled = _settle(month, setup, shop)
    _check_answers(month, setup, shop, earlier)
    _check_laws(month, day)
    month.days.append(bounds.measure(month.instance))
    _move(month, timedelta(hours=fault.seconds))
    _move(month, tomorrow - _database_time(month.instance))
    for finding in bounds.overdue(month.instance):
        month.seen.record_finding(finding)
    now = _database_time(month.instance)
    print(
        f"day {day}, up to {now:%Y-%m-%d}, {time.monotonic() - began:.0f} s, settled after {settled:.1f} s: "
        f"{month.days[-1]}",
        flush=True,
    )
    return settled


def _load(month: Month, day: int, setup: Setup, shop: Shop) -> None:
    """Some seconds of buyers and staff, with new campaigns of coupons and goods that came in; then leases,
    orders and tokens lapse. On some days the gateway is away at the end: what is in doubt is given up.
    """
    closes_at = _database_time(month.instance) + timedelta(hours=20)
    offered = [
        shop.create_campaign(
            "Month", **STRATEGIES[((day - 1) * COUPONS_A_DAY + number) % len(STRATEGIES)],
            quantity=QUANTITY, closes_at=closes_at.isoformat(), coupon_valid_for_days=365,
        )
        for number in range(COUPONS_A_DAY)
    ]  # fmt: skip
    setup.campaigns += offered
    common: dict[str, Any] = {
        "port": month.instance.port,
        "ends_at": time.monotonic() + LOAD_SECONDS,
        "seen": month.seen,
    }
    staff = Staff(setup, seed=f"{month.seed} staff {day}", **common)
    for product in setup.products:
        body = {"delta": DELIVERED, "reason": f"came in on day {day}"}
        path = f"/products/{product.id}/stock-adjustments"
        staff.do(setup.staff, "adjustment", path, body, keyed=True)
    clients: list[Buyer | Staff] = [staff]
    for number in range(CLIENTS):
        own = setup.buyers[number::CLIENTS]
        today = replace(setup, campaigns=offered)
        clients.append(_BuyerOfToday(own, today, seed=f"{month.seed} {day} {number}", **common))
    with ExitStack() as outage:
        with at_work(clients):
            time.sleep(LOAD_SECONDS)
            if day % DAYS_BETWEEN_OUTAGES == 1:
                outage.enter_context(faults.lasting(GATEWAY_AWAY, month.instance))
                time.sleep(OUTAGE_SECONDS)
        # Not before: a call that is repeated needs its token.
        _move(month, LAPSE)


class _BuyerOfToday(Buyer):
    """Repeats no call of earlier days: their keys are forgotten by now."""

    def __init__(self, accounts: list[Account], setup: Setup, **settings: Any) -> None:
        super().__init__(accounts, setup, **settings)
        self._earlier = {account.id: len(account.calls) for account in accounts}

    def repeat(self, account: Account) -> None:
        calls = account.calls[self._earlier[account.id] :]
        super().repeat(replace(account, calls=calls))


def _renew_tokens(month: Month, shop: Shop) -> None:
    """The access tokens have expired, and each account gets another by its refresh token."""
    for finding in sign_ins.still_valid(month.instance, month.signed_in):
        month.seen.record_finding(finding)
    for one in month.signed_in:
        one.renew(month.instance, now=_database_time(month.instance))
    staff = month.signed_in[-1].account
    sign_ins.wait_until_accepted(month.instance, staff)
    shop.token = staff.token


def _settle(month: Month, setup: Setup, shop: Shop) -> float:
    """Wait until all of the day is settled; how long that took. What waits longer is due by further jumps."""
    began = time.monotonic()
    moves_at = began + PAUSE_SECONDS
    while left := _unsettled(setup, shop):
        if time.monotonic() - began > SETTLE_SECONDS:
            month.seen.record_finding(f"a day was not settled: {'; '.join(left[:10])}")
            break
        if time.monotonic() > moves_at:
            _move(month, LAPSE)
            _renew_tokens(month, shop)
            moves_at = time.monotonic() + PAUSE_SECONDS
        time.sleep(0.5)
    return time.monotonic() - began


def _unsettled(setup: Setup, shop: Shop) -> list[str]:
    try:
        return shop.unsettled(setup)
    except OSError as error:
        # The gateway is about to listen again.
        return [str(error)]


def _check_answers(month: Month, setup: Setup, shop: Shop, earlier: dict[int, int]) -> None:
    """Every call of the day has its final answer, and its repeat the same. Its key is forgotten tomorrow."""
    for account in [setup.staff, *setup.buyers]:
        for made in account.calls[earlier[account.id] :]:
            made.call = replace(made.call, token=account.token)
            for finding in await_final_answer(made, shop.connection):
                month.seen.record_finding(finding)
            if made.call.key and made.was_done:
                _check_repeat(month, made, shop)
            made.call = replace(made.call, key="")


def _check_repeat(month: Month, made: RecordedCall, shop: Shop) -> None:
    until = time.monotonic() + SETTLE_SECONDS
    again = shop.connection.call_until_final(made.call, until=until)
    if (again.status, again.body) != (made.answer.status, made.answer.body) or not again.is_replay:
        month.seen.record_finding(f"key {made.call.key} of {made.sort}: first {made.answer}, now {again}")


def _check_laws(month: Month, day: int) -> None:
    """The laws: as the shop's own audit found them since the day's load, on some days by the command too."""
    since, deadline = _database_time(month.instance), time.monotonic() + SETTLE_SECONDS
    _move(month, AUDIT_DUE)
    while True:
        rows = database.rows(month.instance, "SELECT law, holds, checked_at, offenders FROM shop_lawstatus")
        if rows and all(checked_at and _utc(checked_at) >= since for _, _, checked_at, _ in rows):
            break
        if time.monotonic() > deadline:
            month.seen.record_finding(f"day {day}: the scheduled audit has not checked every law")
            break
        time.sleep(0.5)
    for law, holds, _, offenders in rows:
        if not holds:
            month.seen.record_finding(f"day {day}: {law} is broken: {offenders}")
    if day % AUDITED_EACH_DAYS == 0:
        trial.audit(month.instance, month.seen)


def _move(month: Month, by: timedelta) -> None:
    """Set all clocks ahead by so much; returns once the database's is there. Raises SetupError."""
    target = _database_time(month.instance) + by
    month.offset_seconds += round(by.total_seconds())
    clocks.set_clocks(month.instance, {ALL: month.offset_seconds})
    waiting.until(
        lambda: _database_time(month.instance) >= target - timedelta(seconds=1),
        f"the database's clock did not move to {target}",
        within_seconds=MOVE_SECONDS,
    )


def _findings(month: Month) -> Iterator[str]:
    """What happened early, what grew, and what was not seen at all."""
    yield from early.findings(month.instance)
    yield from bounds.growth(month.days)
    happened = early.counts(month.instance)
    print(", ".join(f"{count} x {kind}" for kind, count in happened.items()), flush=True)
    yield from (f"nothing shows whether it is early: {kind}" for kind in SEEN if not happened.get(kind))
    yield from _archive(month)


def _archive(month: Month) -> Iterator[str]:
    """Once it may be, the month of the first day is archived: each law holds without its rows."""
    ended_at = _next_month(month.began_at)
    may_be_at = ended_at + timedelta(days=ARCHIVED_AFTER_DAYS, hours=1)
    wait = may_be_at - _database_time(month.instance)
    if wait > timedelta(0):
        _move(month, wait)
    yield from bounds.overdue(month.instance)
    folder = month.instance.home / "archive"
    folder.mkdir(exist_ok=True)
    for table, rows in ARCHIVED.items():
        counted = f"SELECT COUNT(*) FROM {rows} < %s"  # noqa: S608 - names of ours
        before = database.rows(month.instance, counted, ended_at)[0][0]
        options = f"--days {ARCHIVED_AFTER_DAYS} --folder {folder} --yes --reason campaign"
        words = f"archive_month {table} {month.began_at:%Y-%m} {options}"
        ran = own_stack.manage(month.instance, words)
        left = database.rows(month.instance, counted, ended_at)[0][0]
        print(f"archive of {table}: {before} rows of the first day's month, {left} stay", flush=True)
        if ran.returncode != 0 or (left >= before and table not in STAYING):
            yield f"{words} ended with {ran.returncode}, {left} of {before} stay: {ran.stdout}{ran.stderr}"
    trial.audit(month.instance, month.seen)


def _finds_planted(month: Month) -> bool:
    """Whether both are found: keys that are deleted early, and marks that are never deleted."""
    too_early = [one for one in early.findings(month.instance) if "idempotency key" in one]
    kept = [one for one in month.seen.findings if "shop_committedtransaction" in one]
    print(f"{len(too_early)} early, as: {too_early[:1]}; kept: {kept[:1]}", flush=True)
    return bool(too_early and kept)


def _database_time(instance: Instance) -> datetime:
    return _utc(database.rows(instance, "SELECT UTC_TIMESTAMP(6)")[0][0])


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC)
