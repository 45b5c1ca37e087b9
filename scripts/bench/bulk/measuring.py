"""Measures a filled shop: the rate of issue without and with archiving beside it, lists, the audit, sizes.

It runs in the environment of the throwaway servers. Requests are calls of `issuing.issue` by threads, without
HTTP; the archive is the management command in a process of its own, which each measurement kills.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import TypeVar

import django

T = TypeVar("T")
THREADS = 32
TABLES = ("coupons_coupon", "coupons_archivedcoupon")
SIZE = """
SELECT ROUND(SUM(data_length) / 1e6), ROUND(SUM(index_length) / 1e6) FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = %s
"""
LOOKUPS = 200


def main(rows: int, months: int, pairs: int, seconds: int) -> None:
    from django.db import connection

    from coupons.models import Campaign
    from scripts.bench.bulk import filling
    from shop.db.mysql.patience import long_read_timeout

    print(f"filling {rows:,} coupons of {months} months …", flush=True)
    with long_read_timeout(connection):
        made, took = timed(lambda: filling.fill(rows, months=months, say=say))
        print(f"filled in {took:.0f} s: {made:,} coupons", flush=True)
        print_reads("before")
    latest, *_ = Campaign.objects.order_by("-closes_at")
    assert latest.closes_at is not None
    month = f"{latest.closes_at:%Y-%m}"
    issue = Issuing(seconds=seconds)
    issue.rate()
    print("coupons a second:", flush=True)
    rates: list[tuple[float, float]] = []
    for number in range(pairs):
        alone = issue.rate()
        with archiving(month) as moved:
            beside = issue.rate()
        rates.append((alone, beside))
        print(
            f"  pair {number + 1}: {alone:,.0f} alone, {beside:,.0f} beside archiving "
            f"({beside / alone:.3f}), {moved[0]:,} archived meanwhile",
            flush=True,
        )
    ratio = median(beside / alone for alone, beside in rates)
    print(f"  median ratio {ratio:.3f}, of {pairs} pairs of {seconds} s with {THREADS} callers", flush=True)
    report_rest_of_month(month)
    print(f"coupons a second after it: {median(issue.rate() for _ in range(pairs)):,.0f}", flush=True)
    with long_read_timeout(connection):
        print_reads("after")


def say(text: str) -> None:
    print(text, flush=True)


def report_rest_of_month(month: str) -> None:
    """Archive what is left of the month without rests, and say how long a million takes."""
    from coupons.models import ArchivedCoupon

    before = ArchivedCoupon.objects.count()
    _, took = timed(lambda: subprocess.run(command(month, share=1.0), check=True, stdout=subprocess.DEVNULL))
    moved = ArchivedCoupon.objects.count() - before
    print(
        f"the rest of {month}: {moved:,} coupons in {took:.1f} s without rests, {moved / took:,.0f} a second"
    )


class Issuing:
    """Threads that issue coupons, each to the next account; after the last account, of another campaign."""

    def __init__(self, *, seconds: int) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._requests = self._next_requests()

    @staticmethod
    def _next_requests() -> Iterator[tuple[int, int]]:
        from django.contrib.auth.models import User

        from shop.management.filling.rows import open_campaign

        account_ids = list(User.objects.order_by("pk").values_list("pk", flat=True))
        while True:
            campaign_id = open_campaign(quantity=len(account_ids))
            yield from ((campaign_id, account_id) for account_id in account_ids)

    def rate(self) -> float:
        """Coupons a second, over the measurement's seconds."""
        counts = [0] * THREADS
        ends_at = time.monotonic() + self._seconds
        threads = [
            threading.Thread(target=self._issue_until, args=(ends_at, counts, place))
            for place in range(THREADS)
        ]
        began_at = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.monotonic() - began_at)

    def _issue_until(self, ends_at: float, counts: list[int], place: int) -> None:
        from django.db import connections

        from coupons.issuing import issuing

        while time.monotonic() < ends_at:
            with self._lock:
                campaign_id, account_id = next(self._requests)
            issuing.issue(campaign_id=campaign_id, user_id=account_id)
            counts[place] += 1
        connections.close_all()


@contextmanager
def archiving(month: str) -> Iterator[list[int]]:
    """The command archives the month beside the block, and is killed at its end; yields what it moved."""
    from coupons.models import ArchivedCoupon

    def last_position() -> int:
        rows = ArchivedCoupon.objects.filter(campaign__name=month).order_by("-position")
        return rows.values_list("position", flat=True).first() or 0

    before, moved = last_position(), [0]
    with subprocess.Popen(command(month), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while last_position() == before and process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError("nothing is archived")
            time.sleep(0.1)
        yield moved
        process.kill()
    moved[0] = last_position() - before


def command(month: str, *, share: float = 0.5) -> list[str]:
    return [sys.executable, "manage.py", "archive_coupons", "--month", month, "--share", str(share)]


def timed(work: Callable[[], T]) -> tuple[T, float]:
    began_at = time.monotonic()
    return work(), time.monotonic() - began_at


def seconds_of(work: Callable[[], object]) -> float:
    return timed(work)[1]


def read_list(owner_id: int) -> list[object]:
    """The first page of an account's coupons."""
    from coupons.archive import coupon_lists

    return list(coupon_lists.find(owner_id=owner_id).order_by("-id")[0:51])


def print_reads(when: str) -> None:
    """The tables' sizes, and how long lists, look-ups and the audit of coupons take."""
    from django.db import connection

    from coupons import audit, issued_coupons
    from coupons.models import ArchivedCoupon, Coupon

    with connection.cursor() as cursor:
        for table, model in zip(TABLES, (Coupon, ArchivedCoupon), strict=True):
            cursor.execute(f"ANALYZE TABLE {table}")
            cursor.fetchall()
            cursor.execute(SIZE, [table])
            data, indexes = cursor.fetchone()
            count = model._default_manager.count()
            print(f"{when}: {table} {count:,} rows, {data} MB and {indexes} MB of indexes", flush=True)
    last = Coupon.objects.order_by("-pk").values_list("pk", flat=True)[0]
    some = list(Coupon.objects.filter(pk__in=range(1, last, max(1, last // LOOKUPS))))
    owners, names = [one.account_id for one in some], [one.code for one in some]
    lists = [seconds_of(partial(read_list, id)) for id in owners]
    gets = [seconds_of(partial(issued_coupons.get, code=code, owner_id=None)) for code in names]
    print(f"{when}: an account's list {median(lists) * 1e3:.2f} ms, by code {median(gets) * 1e3:.2f} ms")
    archived = ArchivedCoupon.objects.order_by("pk").values_list("code", flat=True)[:LOOKUPS]
    if gets := [seconds_of(partial(issued_coupons.get, code=code, owner_id=None)) for code in archived]:
        print(f"{when}: an archived coupon by code {median(gets) * 1e3:.2f} ms")
    reports, took = timed(audit.audit)
    holds = all(report.holds for report in reports)
    print(
        f"{when}: the laws of coupons {'hold' if holds else 'are BROKEN'}, audited in {took:.1f} s",
        flush=True,
    )
    if not holds:
        sys.exit(1)


if __name__ == "__main__":
    django.setup()
    main(*map(int, sys.argv[1:]))
