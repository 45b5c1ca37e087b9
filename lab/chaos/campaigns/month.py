"""The campaign `month`: thirty days of the shop's time, by jumps of all its clocks between bursts of load."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import jwt
from redis import Redis

from lab import calls, shop
from lab.calls import Findings
from lab.chaos import comparison, faults
from lab.chaos.campaigns import clocks
from lab.chaos.campaigns.run import Run, say
from lab.chaos.clients import at_work
from lab.chaos.faults import Fault
from lab.stack import database
from scripts.stack import Json, Lines, places, ports, waiting, welcome

COUPONS_A_DAY = 3
GATEWAY_AWAY = Fault("down", "gateway", 1.5)
DAYS_BETWEEN_OUTAGES = 3
STRATEGIES = (*shop.STRATEGIES, *shop.USUAL_STRATEGIES)
SPARE = {"bytes": 4 * 2**20, "keys": 100}  # By what Redis may grow, beside a quarter
FEWEST_DAYS = 17
CLEAN_UP_SECONDS = 15
PATIENCE_SECONDS = 30
MOVE_SECONDS = 20
TOKEN_SECONDS = 100 * 86_400
KEYS = "shop_idempotencykey"
MARKS = "shop_committedtransaction"
# Rows of a session have no `id` for the triggers of `clocks`.
EXPIRIES = {**clocks.EXPIRIES, "django_session": "expire_date"}
BROKEN = "SELECT law, offenders FROM shop_lawstatus WHERE NOT holds"
LATE = "SELECT COUNT(*) FROM {} WHERE {} < UTC_TIMESTAMP(6) - INTERVAL 1 HOUR"
UNCHECKED = "SELECT COUNT(*) = 0 OR SUM(checked_at IS NULL OR checked_at < %s) > 0 FROM shop_lawstatus"


class BrokenLaw(NamedTuple):
    law: str
    offenders: str


class Month(Run):
    """A day for each fault, whose seconds are where the jump to the next day is interrupted, in hours."""

    ahead_seconds = 0

    def load(self) -> float:
        clocks.watch_early(self.instance)
        self.sizes: list[Mapping[str, int]] = []
        self.campaigns = [*self.setup.campaigns]
        self.accounts = [*self.setup.buyers, self.setup.staff]
        # Clients have tokens for the whole month.
        key = places.secret(self.instance.home, "secret-key")
        for account in self.accounts:
            claims = jwt.decode(account.token, options={"verify_signature": False})
            claims["exp"] += TOKEN_SECONDS
            account.token = jwt.encode(claims, key)
        self.shop.token = self.setup.staff.token
        longest = 0.0
        for day, fault in enumerate(self.faults, 1):
            longest = max(longest, self.run_day(day, fault))
        self.setup.campaigns = self.campaigns
        return longest

    def run_day(self, day: int, fault: Fault) -> float:
        """One day, up to the next morning; how long it took to settle."""
        began = time.monotonic()
        tomorrow = self.now() + timedelta(days=1)
        self.sell(day)
        settled = self.settle()
        self.made += 1
        self.forget_keys()
        since = self.now()
        self.move(timedelta(minutes=1))  # more than to the next scheduled audit
        is_unchecked = partial(database.value, self.instance, UNCHECKED, since)
        if waiting.left(is_unchecked, within_seconds=self.campaign.settle_seconds):
            self.record([f"day {day}: the scheduled audit has not checked every law"])
        for broken in database.read(self.instance, BrokenLaw, BROKEN):
            self.record([f"day {day}: {broken.law} is broken: {broken.offenders}"])
        with Redis(unix_socket_path=str(self.instance.redis_socket)) as redis:
            memory: Any = redis.info("memory")
            self.sizes.append({"bytes": memory["used_memory"], "keys": redis.dbsize()})
        self.move(timedelta(hours=fault.seconds))
        self.move(tomorrow - self.now())
        self.record(waiting.left(self.overdue, within_seconds=CLEAN_UP_SECONDS, pause_seconds=0.5))
        say(f"day {day}, up to {self.now():%F}, {time.monotonic() - began:.0f} s: {self.sizes[-1]}")
        return settled

    def forget_keys(self) -> None:
        """Repeat all calls with a key. Tomorrow they are forgotten; without one such a call is refused."""
        for account in self.accounts:
            keyed = [made for made in account.calls if made.call.key]
            self.record(comparison.repeats(keyed, self.shop.connection))
            for made in keyed:
                made.call = made.call._replace(key="")

    def sell(self, day: int) -> None:
        """Some seconds of load; then leases lapse. On some days the gateway is away at the end."""
        closes_at = (self.now() + timedelta(hours=20)).isoformat()
        terms: Json = {"quantity": 8, "closes_at": closes_at, "coupon_valid_for_days": 365}
        self.setup.campaigns = []
        for number in range(COUPONS_A_DAY):
            kind = STRATEGIES[(day * COUPONS_A_DAY + number) % len(STRATEGIES)]
            self.setup.campaigns.append(self.shop.create_campaign("Month", **asdict(kind) | terms))
        self.campaigns += self.setup.campaigns
        with ExitStack() as outage:
            with at_work(self.clients(f" {day}")):
                time.sleep(self.campaign.client_seconds)
                if day % DAYS_BETWEEN_OUTAGES == 1:
                    outage.enter_context(faults.lasting(GATEWAY_AWAY, self.instance))
                    time.sleep(GATEWAY_AWAY.seconds)
            # What these begin has to be swept once it has expired.
            calls.signed_in(self.instance.url, welcome.STAFF_USER, welcome.STAFF_PASSWORD)
            staff = {"username": welcome.STAFF_USER, "password": welcome.STAFF_PASSWORD}
            pair = self.shop.call("POST", "/auth/token", staff)
            self.shop.call("POST", "/auth/refresh", {"refresh": pair["refresh"]})
            self.operate()
        gateway = (ports.HOST, self.instance.gateway_port)
        waiting.until(lambda: ports.answers(gateway), "no gateway", within_seconds=PATIENCE_SECONDS)

    def operate(self) -> None:
        """Let just more time pass than an order is held, and a payment is tried."""
        self.move(timedelta(minutes=16))

    def move(self, by: timedelta) -> None:
        """Set all clocks ahead by so much; returns once the database's is there. Raises SetupError."""
        target = self.now() + by
        self.ahead_seconds += round(by.total_seconds())
        clocks.set_clocks(self.instance, {"all": self.ahead_seconds})
        late = f"the database's clock did not move to {target}"
        waiting.until(lambda: self.now() >= target - timedelta(seconds=1), late, within_seconds=MOVE_SECONDS)

    def now(self) -> datetime:
        return database.now(self.instance).replace(tzinfo=UTC)

    def overdue(self) -> Lines:
        overdue = []
        for table, end in EXPIRIES.items():
            number = database.value(self.instance, LATE.format(table, end))
            if number:
                overdue.append(f"not bounded: {number} rows of {table} after their time")
        return overdue

    def findings(self) -> Findings:
        yield from growth(self.sizes)
        yield from clocks.early(self.instance, self.campaign.has_to_happen)

    def finds_planted(self) -> bool:
        """Whether both are found: keys that are deleted early, and marks that are never deleted."""
        is_early = any(KEYS in one for one in clocks.early(self.instance))
        is_kept = any(MARKS in one for one in self.seen.findings)
        say(f"keys were swept early: {is_early}; marks were kept: {is_kept}")
        return is_early and is_kept


def growth(days: Sequence[Mapping[str, int]]) -> Findings:
    """What of Redis has grown from around day 10 to the last days, by more than a quarter and some."""
    if len(days) < FEWEST_DAYS:
        return
    for name, spare in SPARE.items():
        before = max(sizes[name] for sizes in days[7:12])
        now = max(sizes[name] for sizes in days[-5:])
        if now > 1.25 * before + spare:
            yield f"not bounded: Redis' {name} grew from {before} around day 10 to {now}"
