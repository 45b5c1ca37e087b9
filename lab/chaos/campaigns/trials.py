"""The trials `chaos` and `soak`: processes fail at random, several at once, for so many seconds. `soak`
measures the availability, and has a Prometheus beside it, from which every dashboard is filled."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lab import shop
from lab.calls import Call, Findings, Observations, Request, coupon_call
from lab.chaos import comparison, faults
from lab.chaos.campaigns.run import Run
from lab.chaos.faults import WEB_PROCESS, Fault, Faults
from lab.stack import faketime, prometheus
from scripts.stack import Environment, Settings, waiting
from scripts.stack.children import say

SHORT_SECONDS = (0.3, 5.0)
LONG_SECONDS = (11.0, 13.0)
SHARE_OF_LONG = 0.15  # How long a process is frozen or down; the long ones outlast the lease of a saga
# Without these some requests can't be answered as they should; all others the shop makes up for.
NEEDED_TO_ANSWER = {"web", WEB_PROCESS, "redis", "mariadb", "partner"}
BREAKER_SECONDS = 2.0  # How long a circuit breaker of the shop may refuse calls of what is back
SEEN_SECONDS = 90  # How long Prometheus may not see something
CALL_SECONDS = 180
GOAL = 0.999  # The share of good requests
# What the service level counts of the POSTs.
SERVICE_LEVEL_PATHS = {"/orders", "/payments", "/wallet/top-ups"}

# How often a fault is made of the sum of its table; those of each table one after the other, and the tables
# side by side. A number is 6 for `kill`, 3 for `freeze` or 2 for `down`, times the share of the process: 3
# for a web process, 2 for worker, Redis and MariaDB, 1 for each other. Children of web can't be kept down.
# `flush redis` has a share of its own. Of a tuple the first is the share, the others from and to how many
# seconds the fault lasts.
SHOP_SHARES: Faults = {
    "kill web": 6,
    "kill web-process": 18,
    "kill worker": 12,
    "kill beat": 6,
    "kill issuer": 6,
    "freeze web": 3,
    "freeze web-process": 9,
    "freeze worker": 6,
    "freeze beat": 3,
    "freeze issuer": 3,
    "down web": 2,
    "down worker": 4,
    "down beat": 2,
    "down issuer": 2,
}
OUTSIDE_SHARES: Faults = {
    "kill gateway": 6,
    "kill sink": 6,
    "kill partner": 6,
    "kill redis": 12,
    "freeze gateway": 3,
    "freeze sink": 3,
    "freeze partner": 3,
    "freeze redis": 6,
    "down gateway": 2,
    "down sink": 2,
    "down partner": 2,
    "down redis": 4,
    "flush redis": 2,
}
MARIADB_SHARES: Faults = {"kill mariadb": 12, "freeze mariadb": 6, "down mariadb": 4}
BROKER_SHARES: Faults = {"kill rabbitmq": 1, "freeze rabbitmq": 1, "down rabbitmq": 1}
SLOW_SHARES: Faults = {"slow gateway": (1, 10.0, 25.0)}
JUMP_SHARES: Faults = {"jump second-worker": (1, 15.0, 40.0)}
SLOW_PAUSES = (10.0, 40.0)
JUMP_PAUSES = (5.0, 30.0)


class Chaos(Run):
    """Sequences of faults run at once, so that those of the shop and of what is outside overlap."""

    def prepare(self) -> Settings:
        seconds = float(self.seconds or self.campaign.client_seconds)
        self.campaign = replace(self.campaign, client_seconds=seconds, minutes=max(1, int(seconds) // 60))
        return super().prepare()

    def sequences(self) -> list[Iterator[Fault]]:
        self.seen.requests = []
        self.ends_at = time.monotonic() + self.campaign.client_seconds
        outside = OUTSIDE_SHARES
        if self.instance.database == "mariadb":
            outside = outside | MARIADB_SHARES
        tables = [SHOP_SHARES, outside]
        if self.broker:
            tables.append(BROKER_SHARES)
        return [self.drawn(self.campaign.pauses, shares) for shares in tables]

    def drawn(self, pauses: tuple[float, float], shares: Faults) -> Iterator[Fault]:
        """Faults by their shares up to the end, with a pause of so many seconds after each."""
        chance = random.Random(f"{self.seed} {shares}")
        often = [faults.count_of(share) for share in shares.values()]
        while (left := self.ends_at - time.monotonic()) > 0:
            [what] = chance.choices([*shares], often)
            usual = SHORT_SECONDS
            if chance.random() < SHARE_OF_LONG:
                usual = LONG_SECONDS
            yield faults.drawn(what, shares[what], chance, usual, left)
            time.sleep(min(max(self.ends_at - time.monotonic(), 0), chance.uniform(*pauses)))


class Soak(Chaos):
    def sequences(self) -> list[Iterator[Fault]]:
        slow = self.drawn(SLOW_PAUSES, SLOW_SHARES)
        jump = self.drawn(JUMP_PAUSES, JUMP_SHARES)
        return [*super().sequences(), slow, jump]

    @contextmanager
    def stack(self, settings: Environment) -> Iterator[None]:
        faketime.require()
        with super().stack(settings), prometheus.beside(self.instance) as self.prometheus:
            self.began_at = time.time()
            yield

    def set_up(self) -> None:
        """And what the dashboards show and the load may leave out: refusals, a waiting ticket, and a room.

        The sale's product is none of those that the load buys, which would then need an entry.
        """
        super().set_up()
        setup = self.setup
        with faults.lasting(Fault("down", "issuer", 0), self.instance):
            for account in setup.buyers[: shop.FEW_COUPONS + 1]:
                for campaign in setup.campaigns:
                    call = coupon_call(account, campaign)
                    self.shop.make(account, "coupon", call, within_seconds=CALL_SECONDS)
            waiting.left(
                lambda: not self.prometheus.query("firstcome_queue_oldest_ticket_seconds > 0"),
                within_seconds=SEEN_SECONDS,
                pause_seconds=1,
            )
        sale = self.shop.create_sale(self.shop.create_product("Sale", 0, shop.PLENTY).id, rate_per_minute=1)
        for account in setup.buyers:
            call = Call("POST", f"/sales/{sale}/entries", account.token)
            self.shop.ask(call, within_seconds=CALL_SECONDS)
        self.before = comparison.stored(setup, self.rows)

    def load(self) -> float:
        longest = super().load()
        for span in self.spans:
            if span.fault.name in NEEDED_TO_ANSWER:
                self.seen.outages.append((span.began, span.ready + BREAKER_SECONDS))
        self.record(availability(self.seen))
        return longest

    def findings(self) -> Findings:
        return prometheus.empty_queries(self.prometheus, self.began_at)


def availability(seen: Observations) -> Findings:
    outside = [request for request in seen.requests if not request.overlaps(seen.outages)]
    paying = []
    for request in outside:
        if request.method == "POST" and request.path in SERVICE_LEVEL_PATHS:
            paying.append(request)
    say(f"{len(seen.outages)} outages")
    share = _say_share("outside of outages", outside)
    _say_share("of orders and payments outside of outages", paying)
    _say_share("with outages", seen.requests)
    if not outside or share < GOAL:
        yield f"the availability outside of outages is below {GOAL:.1%}"


def _say_share(name: str, requests: Sequence[Request]) -> float:
    """The share of good requests, which is printed with the most frequent results of others."""
    bad = Counter(request.result for request in requests if not request.is_good)
    share = 1 - bad.total() / max(1, len(requests))
    kinds = ", ".join(f"{number} x {result}" for result, number in bad.most_common(5))
    say(f"availability {name}: {share:.3%} of {len(requests)} requests ({kinds or 'no other'})")
    return share
