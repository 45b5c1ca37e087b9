"""How the runs of some campaigns differ: sales, payments that are in flight, and a shop without Redis."""

import itertools
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.calls import Connection, Findings, Observations, Period, order_call
from lab.chaos import comparison, faults
from lab.chaos.campaigns.run import Run
from lab.chaos.faults import Fault
from lab.stack import database
from scripts.stack import Settings, own_stack, waiting
from scripts.stack.children import say

# How many buyers wait, until when they have asked, and within how long after a fault they are to know.
WAITING = 30
PLACED_SECONDS = 5
GOAL_SECONDS = 15
WAITED_FOR = ("tok_slow", "tok_slow", "tok_slow", "tok_webhook", "tok_timeout_charged")
OPEN_SAGAS = "SELECT COUNT(*) FROM orders_saga WHERE ended_at IS NULL"
# Sorts of faults while which Redis serves nothing, and what is answered all the same.
REDIS_AWAY = ("down", "no memory for", "old data for")
WITHOUT_REDIS = {"/orders", "/coupons"}


class Sales(Run):
    """Planted, processes admit more accounts than the rate of the sale."""

    def finds_planted(self) -> bool:
        return any(law["law"] == "L14" and not law["holds"] for law in own_stack.audit(self.instance))


class Gateway(Run):
    """A refund whose attempts all fell into an outage is stuck: an operator has it tried again."""

    def operate(self) -> None:
        say(f"{own_stack.manage(self.instance, 'retry_saga --all-stuck --reason gateway-is-back')}")

    def finds_planted(self) -> bool:
        return bool(
            self.wrong or [*comparison.of_outside(self.setup, self.shop, self.shop.orders_of(self.setup))]
        )


class Payments(Gateway):
    """Buyers wait for payments when each fault strikes; nobody asks for anything until all have ended."""

    load = Run.make_faults

    def prepare(self) -> Settings:
        for _ in range(1 if self.is_quick else 3):
            for clock in ("mariadb", "worker"):
                self.faults += [Fault(sort, clock, 0) for sort in faults.STEPS]
        return super().prepare()

    def make(self, fault: Fault) -> float:
        chance = random.Random(f"{self.seed} {self.made}")
        bought = []
        products = itertools.cycle(self.setup.products)
        for account in self.setup.buyers[:WAITING]:
            call = order_call(account, next(products).id, card=chance.choice(WAITED_FOR), wait=10)
            bought.append((account, call))
        with ThreadPoolExecutor(WAITING) as threads:
            for _, call in bought:
                threads.submit(Connection(self.instance.port, self.seen, seed="").call_once, call)
            waiting.left(lambda: self.open() < WAITING, within_seconds=PLACED_SECONDS)
            time.sleep(chance.uniform(0, 1))
            struck = self.open()
            super().make(fault)
            waiting.left(self.open, within_seconds=self.campaign.settle_seconds)
            seconds = time.monotonic() - self.spans[-1].ended
        say(f"| {fault} | {struck} were open | settled after {seconds:.1f} s |")
        if seconds > GOAL_SECONDS:
            self.record([f"{fault}: payments were open for {seconds:.1f} s after it"])
        for account, call in bought:
            self.shop.make(account, "order", call)
        return seconds

    def open(self) -> int:
        """How many payments are."""
        return int(database.value(self.instance, OPEN_SAGAS))


class Stores(Run):
    """While Redis serves nothing orders are answered, and coupons of strategies that do without it."""

    def load(self) -> float:
        faults.copy_redis(self.instance)
        return super().load()

    def findings(self) -> Findings:
        spans = []
        for span in self.spans:
            if span.fault.name == "redis" and span.fault.sort in REDIS_AWAY:
                spans.append((span.began, span.ended))
        return unanswered(self.seen, spans)


def unanswered(seen: Observations, spans: Sequence[Period]) -> Findings:
    """Each path whose requests in these spans, but those that need Redis, had no answer; prints how many."""
    for path in WITHOUT_REDIS:
        met = []
        for request in seen.requests:
            is_asked = request.method == "POST" and request.path == path and "Redis" not in request.detail
            if is_asked and any(began <= request.began and request.ended <= ended for began, ended in spans):
                met.append(request.is_good)
        say(f"while Redis was away {sum(met)} of {len(met)} requests of {path} were answered")
        if met and not any(met):
            yield f"while Redis was away none of {len(met)} requests of {path} was answered"
