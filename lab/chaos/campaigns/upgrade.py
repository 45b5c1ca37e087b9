"""The campaign `upgrade`: `releases` on a shop that has lived, whose tables are full; its steps are timed."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab import filling
from lab.chaos.campaigns.releases import Releases
from lab.tables import declared
from scripts.stack import waiting
from scripts.stack.children import say
from scripts.stack.places import PROJECT

ROUNDS = 3
"""This release, the previous one again, and this one for good."""
OLDEST = timedelta(days=100)
"""Before the first of this month: some days of a month that the previous release may archive."""
DAY_SECONDS, NUMBERED_SECONDS = 86_400, 1_800
COUPONS_OF_AN_ORDER, ORDERS_OF_A_WAITING_ENTRY = 2, 10
STATEMENTS = declared("lab/chaos/campaigns/upgrade.toml")


class Upgrade(Releases):
    """Each step is timed, and what clients wait meanwhile."""

    orders, quick_orders, command_seconds = 1_000_000, 20_000, 3_600

    def prepare(self) -> dict[str, str]:
        self.faults *= ROUNDS
        return super().prepare()

    def set_up(self) -> None:
        orders = self.quick_orders if self.is_quick or self.is_planted else self.orders
        oldest = (now := datetime.now(UTC)).replace(day=1) - OLDEST
        how = {"coupons": orders * COUPONS_OF_AN_ORDER, "hours": (now - oldest) // timedelta(hours=1)}
        with self.timed(f"{orders} orders and {how['coupons']} coupons were made"):
            filling.fill(self.instance, orders=orders, **how)
        super().set_up()
        self.shop.audit_seconds = self.command_seconds
        self.shop.charges = f"/charges?created_from={datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        sale = self.shop.create_sale(self.setup.ample.id, in_seconds=DAY_SECONDS, rate_per_minute=60)
        filling.join(self.instance, sale, count=orders // ORDERS_OF_A_WAITING_ENTRY)
        for table in ("journal", "movements"):
            words = f"archive_month {table} {oldest:%Y-%m} --days 60 --share 1 --yes --reason old"
            self.manage_timed(f"{words} --folder {self.instance.home}", self.previous)
        self.manage_timed("audit", self.previous)
        self.kept = self.rows(STATEMENTS["kept"])
        self.rows(STATEMENTS["make_due"])

    def finish(self) -> None:
        # As the last of an update: a worker that starts numbers the orders.
        self.replace("worker-1", PROJECT, is_drained=False)
        with self.timed("the orders of the previous release were numbered"):
            waiting.left(lambda: self.rows(STATEMENTS["without_number"]), within_seconds=NUMBERED_SECONDS)
        self.manage_timed("finish_upgrade", PROJECT)
        self.manage_timed("rebuild_product_days --json", PROJECT)

    def migrate(self) -> None:
        longest = dict[str, int]()
        with ThreadPoolExecutor() as threads:
            ran = threads.submit(self.manage_timed, "migrate --no-input --verbosity 2", PROJECT)
            while not ran.done():
                longest |= {
                    what: max(ms, longest.get(what, 0)) for what, ms in self.rows(STATEMENTS["of_tables"])
                }
                time.sleep(0.1)
        ran.result()
        for what, ms in longest.items():
            say(f"{ms / 1000:8.1f} s  {what}")

    def manage_timed(self, words: str, code: Path) -> None:
        """A management command; of its output what each migration took, or the last line."""
        with self.timed(words):
            lines = self.manage(self.instance, words, code).stdout.splitlines()
        say("\n".join([line for line in lines if "... OK" in line] or lines[-1:]))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Say how long it took, and the requests of clients that ended meanwhile."""
        began, before = time.monotonic(), len(self.seen.requests)
        yield
        say(f"{time.monotonic() - began:8.1f} s  {what}")
        if waits := sorted(one.ended - one.began for one in self.seen.requests[before:]):
            most = waits[-1 - len(waits) // 100]
            say(f"{len(waits)} requests, of which 99 % took {most:.2f} s at most, and one {waits[-1]:.2f} s")

    def findings(self) -> Iterator[str]:
        say(f"as before: {self.kept}")
        if (now := self.rows(STATEMENTS["kept"])) != self.kept:
            yield f"{self.kept} were there, and now {now}"
        yield from (f"{count} {what}" for what, count in self.rows(STATEMENTS["wrong"]) if count)
