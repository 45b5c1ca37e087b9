"""The campaign `upgrade`: `releases` on a shop that has lived, whose tables are full; its steps are timed."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from lab import filling
from lab.calls import Findings
from lab.chaos.campaigns.releases import Releases
from lab.stack import database
from scripts.stack import Settings, waiting
from scripts.stack.children import say
from scripts.stack.places import PROJECT

ROUNDS = 3  # This release, the previous one again, and this one for good
# Before the first of this month: some days of a month that the previous release may archive.
OLDEST = timedelta(days=100)
DAY_SECONDS = 86_400
NUMBERED_SECONDS = 1_800
COUPONS_OF_AN_ORDER = 2
ORDERS_OF_A_WAITING_ENTRY = 10
# Sums over what the shop had before, of accounts that the load doesn't use: no column may change of what had
# ended.
KEPT = """
WITH filled AS (SELECT id AS account_id FROM auth_user WHERE username LIKE 'filled-%%')
SELECT 'orders' AS what, COUNT(*) AS number, SUM(CRC32(CONCAT_WS(',',
    id, account_id, status, items_amount, total_amount, card_amount,
    refunded_amount, coupon_code, units, placed_at, paid_at, ended_at))) AS checksum
FROM orders_order JOIN filled USING (account_id)
WHERE id NOT IN (SELECT about_id FROM orders_saga WHERE request_id = 'lived')
UNION ALL
SELECT 'coupons', COUNT(*), SUM(CRC32(CONCAT_WS(',',
    campaign_id, account_id, code, position, status, order_id)))
FROM coupons_coupon JOIN filled USING (account_id)
UNION ALL
SELECT 'entries of wallets', COUNT(*), SUM(CRC32(CONCAT_WS(',',
    id, account_id, amount, balance_after_amount)))
FROM payments_entry JOIN filled USING (account_id)
UNION ALL
SELECT 'entries of sales', COUNT(*), SUM(CRC32(CONCAT_WS(',',
    id, sale_id, account_id, status, position, order_id)))
FROM sales_saleentry JOIN filled USING (account_id)
UNION ALL
SELECT 'disabled endpoints', COUNT(*), SUM(CRC32(CONCAT_WS(',',
    id, url, position, disabled_at, disabled_by)))
FROM events_webhookendpoint WHERE url = 'https://lived.example/events'
UNION ALL
SELECT 'archived months', COUNT(*), SUM(CRC32(CONCAT_WS(',',
    `table`, month, `rows`, removed, sha256)))
FROM shop_archivedmonth
"""
# Have the sagas of months go on while the releases change.
MAKE_DUE = """
UPDATE orders_saga SET next_attempt_at = UTC_TIMESTAMP(6) + INTERVAL MOD(CRC32(id), 240) SECOND
WHERE request_id = 'lived'
"""
# What changes tables, and what waits until they are changed, so far.
OF_TABLES = """
SELECT IF(state LIKE 'Waiting for table%%', 'waited for a table', LEFT(info, 100)) AS what,
    TIME_MS AS milliseconds
FROM information_schema.PROCESSLIST WHERE info IS NOT NULL AND id <> CONNECTION_ID()
AND (state LIKE 'Waiting for table%%' OR info REGEXP '^(ALTER|CREATE|DROP)')
"""
WITHOUT_NUMBER = "SELECT 1 FROM orders_order WHERE number IS NULL LIMIT 1"
# What may not be in the end, and how often it is.
WRONG = """
SELECT 'orders have no number of their own' AS what, COUNT(*) - COUNT(DISTINCT number) AS number
FROM orders_order
UNION ALL
SELECT 'sagas of months are still open', COUNT(*)
FROM orders_saga WHERE request_id = 'lived' AND ended_at IS NULL
"""


class Waited(NamedTuple):
    what: str
    milliseconds: int


class Wrong(NamedTuple):
    what: str
    number: int


class Upgrade(Releases):
    """Each step is timed, and what clients wait meanwhile."""

    orders = 1_000_000
    quick_orders = 20_000
    command_seconds = 3_600

    def prepare(self) -> Settings:
        self.faults *= ROUNDS
        return super().prepare()

    def set_up(self) -> None:
        orders = self.orders
        if self.is_quick or self.is_planted:
            orders = self.quick_orders
        now = datetime.now(UTC)
        oldest = now.replace(day=1) - OLDEST
        hours = (now - oldest) // timedelta(hours=1)
        coupons = orders * COUPONS_OF_AN_ORDER
        with self.timed(f"{orders} orders and {coupons} coupons were made"):
            filling.fill(self.instance, orders=orders, coupons=coupons, hours=hours)
        super().set_up()
        self.shop.audit_seconds = self.command_seconds
        self.shop.charges = f"/charges?created_from={datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        sale = self.shop.create_sale(self.setup.ample.id, in_seconds=DAY_SECONDS, rate_per_minute=60)
        filling.join(self.instance, sale, count=orders // ORDERS_OF_A_WAITING_ENTRY)
        for table in ("journal", "movements"):
            words = f"archive_month {table} {oldest:%Y-%m} --days 60 --share 1 --yes --reason old"
            self.manage_timed(f"{words} --folder {self.instance.home}", self.previous)
        self.manage_timed("audit", self.previous)
        self.kept = self.rows(KEPT)
        self.rows(MAKE_DUE)

    def finish(self) -> None:
        # As the last of an update: a worker that starts numbers the orders.
        self.replace("worker-1", PROJECT, is_drained=False)
        with self.timed("the orders of the previous release were numbered"):
            waiting.left(lambda: self.rows(WITHOUT_NUMBER), within_seconds=NUMBERED_SECONDS)
        self.manage_timed("finish_upgrade", PROJECT)
        self.manage_timed("rebuild_product_days --json", PROJECT)

    def migrate(self) -> None:
        longest: dict[str, int] = {}
        with ThreadPoolExecutor() as threads:
            ran = threads.submit(self.manage_timed, "migrate --no-input --verbosity 2", PROJECT)
            while not ran.done():
                for waited in database.read(self.instance, Waited, OF_TABLES):
                    longest[waited.what] = max(waited.milliseconds, longest.get(waited.what, 0))
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
        began = time.monotonic()
        before = len(self.seen.requests)
        yield
        say(f"{time.monotonic() - began:8.1f} s  {what}")
        waits = sorted(one.ended - one.began for one in self.seen.requests[before:])
        if waits:
            most = waits[-1 - len(waits) // 100]
            say(f"{len(waits)} requests, of which 99 % took {most:.2f} s at most, and one {waits[-1]:.2f} s")

    def findings(self) -> Findings:
        say(f"as before: {self.kept}")
        now = self.rows(KEPT)
        if now != self.kept:
            yield f"{self.kept} were there, and now {now}"
        for wrong in database.read(self.instance, Wrong, WRONG):
            if wrong.number:
                yield f"{wrong.number} {wrong.what}"
