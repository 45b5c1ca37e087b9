"""The campaigns of faults, which `campaigns.toml` declares, and how each run of them differs.

In `chaos` and `soak` processes fail at random, several at once, for so many seconds. `soak` measures the
availability, and has a Prometheus beside it, from which every dashboard is filled.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from lab import shop
from lab.calls import Call, Connection, Observations, coupon_call, order_call
from lab.chaos import comparison, faults
from lab.chaos.campaigns.month import Month
from lab.chaos.campaigns.releases import Releases
from lab.chaos.campaigns.restore import Restore
from lab.chaos.campaigns.run import Campaign, Run
from lab.chaos.campaigns.tasks import Tasks
from lab.chaos.campaigns.upgrade import Upgrade
from lab.chaos.faults import WEB_PROCESS, Fault, Faults
from lab.stack import faketime, prometheus
from lab.tables import declared
from scripts.stack import own_stack, waiting
from scripts.stack.children import say

SHORT_SECONDS, LONG_SECONDS, SHARE_OF_LONG = (0.3, 5.0), (11.0, 13.0), 0.15
"""How long a process is frozen or down; the long ones outlast the lease of a saga."""
NEEDED_TO_ANSWER = {"web", WEB_PROCESS, "redis", "mariadb", "partner"}
"""Without these some requests can't be answered as they should; all others the shop makes up for."""
BREAKER_SECONDS, SEEN_SECONDS = 2.0, 90
"""How long a circuit breaker of the shop may refuse calls of what is back, and Prometheus not see it."""
GOAL, SERVICE_LEVEL_PATHS = 0.999, {"/orders", "/payments", "/wallet/top-ups"}
"""The share of good requests, and what the service level counts of the POSTs."""
WAITING, PLACED_SECONDS, GOAL_SECONDS = 30, 5, 15
"""How many buyers wait, until when they have asked, and within how long after a fault they are to know."""
WAITED_FOR = ("tok_slow", "tok_slow", "tok_slow", "tok_webhook", "tok_timeout_charged")
REDIS_AWAY, WITHOUT_REDIS = ("down", "no memory for", "old data for"), {"/orders", "/coupons"}
"""Sorts of faults while which Redis serves nothing, and what is answered all the same."""


class Sales(Run):
    """Planted, processes admit more accounts than the rate of the sale."""

    def finds_planted(self, wrong: list[str]) -> bool:
        return any(law["law"] == "L14" and not law["holds"] for law in own_stack.audit(self.instance))


class Gateway(Run):
    """A refund whose attempts all fell into an outage is stuck: an operator has it tried again."""

    def operate(self) -> None:
        say(f"{own_stack.manage(self.instance, 'retry_saga --all-stuck --reason gateway-is-back')}")

    def finds_planted(self, wrong: list[str]) -> bool:
        return bool(wrong or [*comparison.of_outside(self.setup, self.shop)])


class Payments(Gateway):
    """Buyers wait for payments when each fault strikes; nobody asks for anything until all have ended."""

    load = Run.make_faults

    def prepare(self) -> dict[str, str]:
        steps = [Fault(sort, clock, 0) for clock in ("mariadb", "worker") for sort in faults.STEPS]
        self.faults += steps * (1 if self.is_quick else 3)
        return super().prepare()

    def make(self, fault: Fault) -> float:
        chance, products = random.Random(f"{self.seed} {self.made}"), itertools.cycle(self.setup.products)
        bought = [
            (account, order_call(account, product.id, card=chance.choice(WAITED_FOR), wait=10))
            for account, product in zip(self.setup.buyers[:WAITING], products, strict=False)
        ]
        with ThreadPoolExecutor(WAITING) as threads:
            for _, call in bought:
                threads.submit(Connection(self.instance.port, self.seen, seed="").call_once, call)
            waiting.left(lambda: self.open() < WAITING, within_seconds=PLACED_SECONDS)
            time.sleep(chance.uniform(0, 1))
            struck = self.open()
            super().make(fault)
            waiting.left(self.open, within_seconds=self.settle_seconds)
            seconds = time.monotonic() - self.spans[-1].ended
        say(f"| {fault} | {struck} were open | settled after {seconds:.1f} s |")
        if seconds > GOAL_SECONDS:
            self.record([f"{fault}: payments were open for {seconds:.1f} s after it"])
        for account, call in bought:
            self.shop.make(account, "order", call)
        return seconds

    def open(self) -> int:
        """How many payments are."""
        return int(self.rows("SELECT COUNT(*) FROM orders_saga WHERE ended_at IS NULL")[0][0])


class Stores(Run):
    """While Redis serves nothing orders are answered, and coupons of strategies that do without it."""

    def load(self) -> float:
        faults.copy_redis(self.instance)
        return super().load()

    def findings(self) -> Iterator[str]:
        away = [one for one in self.spans if one.fault.name == "redis" and one.fault.sort in REDIS_AWAY]
        return unanswered(self.seen, [(one.began, one.ended) for one in away])


def unanswered(seen: Observations, spans: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Each path whose requests in these spans, but those that need Redis, had no answer; prints how many."""
    all_asked = [one for one in seen.requests if one.method == "POST" and "Redis" not in one.detail]
    for path in WITHOUT_REDIS:
        asked = [one for one in all_asked if one.path == path]
        met = [one.is_good for one in asked if any(a <= one.began and one.ended <= b for a, b in spans)]
        say(f"while Redis was away {sum(met)} of {len(met)} requests of {path} were answered")
        if met and not any(met):
            yield f"while Redis was away none of {len(met)} requests of {path} was answered"


def _faults(declared: Mapping[str, Any]) -> Faults:
    return {what: tuple(one) if isinstance(one, list) else one for what, one in declared.items()}


DECLARED = declared("lab/chaos/campaigns/campaigns.toml")
SHARES = {name: _faults(rows) for name, rows in DECLARED["shares"].items()}


class Chaos(Run):
    """Sequences of faults run at once, so that those of the shop and of what is outside overlap."""

    settle_seconds, database, client_seconds, pauses = shop.SETTLE_SECONDS, "sqlite", 60.0, (0.3, 3.0)

    def prepare(self) -> dict[str, str]:
        self.client_seconds = float(self.asked.get("seconds") or self.client_seconds)
        self.minutes = max(1, int(self.client_seconds) // 60)
        return super().prepare()

    def sequences(self) -> list[Iterator[Fault]]:
        self.seen.requests, self.ends_at = [], time.monotonic() + self.client_seconds
        outside = SHARES["outside"] | (SHARES["mariadb"] if self.instance.database == "mariadb" else {})
        drawn = [SHARES["shop"], outside, *([SHARES["broker"]] if self.broker else [])]
        return [self.drawn(self.pauses, shares) for shares in drawn]

    def drawn(self, pauses: tuple[float, float], shares: Faults) -> Iterator[Fault]:
        """Faults by their shares up to the end, with a pause of so many seconds after each."""
        chance = random.Random(f"{self.seed} {shares}")
        often = [one[0] if isinstance(one, tuple) else one for one in shares.values()]
        while (left := self.ends_at - time.monotonic()) > 0:
            [what] = chance.choices([*shares], often)
            usual = LONG_SECONDS if chance.random() < SHARE_OF_LONG else SHORT_SECONDS
            yield faults.drawn(what, shares[what], chance, usual, left)
            time.sleep(min(max(self.ends_at - time.monotonic(), 0), chance.uniform(*pauses)))


class Soak(Chaos):
    database, client_seconds, pauses = "mariadb", 600.0, (2.0, 8.0)

    def sequences(self) -> list[Iterator[Fault]]:
        slow, jump = self.drawn((10.0, 40.0), SHARES["slow"]), self.drawn((5.0, 30.0), SHARES["jump"])
        return [*super().sequences(), slow, jump]

    @contextmanager
    def stack(self, settings: Mapping[str, str]) -> Iterator[None]:
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
                    self.shop.make(account, "coupon", coupon_call(account, campaign), within_seconds=180)
            unseen = lambda: not self.prometheus.query("firstcome_queue_oldest_ticket_seconds > 0")  # noqa: E731
            waiting.left(unseen, within_seconds=SEEN_SECONDS, pause_seconds=1)
        sale = self.shop.create_sale(self.shop.create_product("Sale", 0, shop.PLENTY).id, rate_per_minute=1)
        for account in setup.buyers:
            self.shop.ask(Call("POST", f"/sales/{sale}/entries", account.token), within_seconds=180)
        self.before = comparison.stored(setup, self.rows)

    def load(self) -> float:
        longest = super().load()
        met = [one for one in self.spans if one.fault.name in NEEDED_TO_ANSWER]
        self.seen.outages = [(one.began, one.ready + BREAKER_SECONDS) for one in met]
        self.record(availability(self.seen))
        return longest

    def findings(self) -> Iterator[str]:
        return prometheus.empty_queries(self.prometheus, self.began_at)


def availability(seen: Observations) -> Iterator[str]:
    met = lambda one: any(a <= one.ended and one.began <= b for a, b in seen.outages)  # noqa: E731
    outside = [one for one in seen.requests if not met(one)]
    paying = [one for one in outside if one.method == "POST" and one.path in SERVICE_LEVEL_PATHS]
    sorts = {"outside of outages": outside, "of orders and payments outside of outages": paying}
    say(f"{len(seen.outages)} outages")
    for name, requests in (sorts | {"with outages": seen.requests}).items():
        bad = Counter(one.result for one in requests if not one.is_good)
        share = 1 - bad.total() / max(1, len(requests))
        kinds = ", ".join(f"{number} x {result}" for result, number in bad.most_common(5))
        say(f"availability {name}: {share:.3%} of {len(requests)} requests ({kinds or 'no other'})")
        if requests is outside and not (requests and share >= GOAL):
            yield f"the availability {name} is below {GOAL:.1%}"


def _campaign(name: str, words: Mapping[str, Any]) -> Campaign:
    own = {**words, "faults": _faults(words["faults"]), "kind": KINDS.get(name, Run)}
    own["planted"] = DECLARED["defects"][words["planted"]] if "planted" in words else ""
    own["planted_faults"] = [Fault(*one) for one in words.get("planted_faults", ())]
    return Campaign(name, **own)


KINDS = {
    one.__name__.lower(): one
    for one in (Sales, Stores, Gateway, Payments, Releases, Upgrade, Tasks, Month, Restore)
}
CAMPAIGNS = {name: _campaign(name, words) for name, words in DECLARED["campaigns"].items()}
TRIALS = {"chaos": Campaign("chaos", {}, Chaos), "soak": Campaign("soak", {}, Soak)}
