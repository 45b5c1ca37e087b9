"""Several processes advance one sale at once, and one of them is killed: the rate holds in any 60 seconds."""

import subprocess
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from foundation import clock
from foundation.db import transactions
from foundation.redis import redis_client
from foundation.tests.racing import race, wait_until
from foundation.tests.second_process import another_process, starts_another_process
from foundation.tests.waiting import in_background, shifted
from inventory.tests.factories import ProductFactory
from sales import audit, terms
from sales.models import SaleEntry
from sales.tests import factories
from sales.waiting_room import advancing

pytestmark = pytest.mark.django_db(transaction=True)
PROCESSES = 3
# Its own thread advances the sale, as in a web process. Each line of standard input moves its clock on.
ADVANCING = """
from contextlib import ExitStack
from datetime import timedelta
from sales.waiting_room import ticking
from foundation import clock

{change}
ticking.CALM_PERIOD_SECONDS = ticking.IDLE_PERIOD_SECONDS = ticking.PERIOD_SECONDS
ticking.thread.start()
print("ready", flush=True)
with ExitStack() as shifts:
    for line in sys.stdin:
        shifts.enter_context(clock.shifted(by=timedelta(seconds=float(line))))
        print("ready", flush=True)
"""
# The twin: each process counts its own admissions, as a limiter in memory does.
COUNTED_IN_MEMORY = """
from sales.models import SaleEntry
from sales.waiting_room import advancing

mine = 0

def admit(sale, clock_now, now):
    global mine
    number = min(sale.rate_per_minute - mine, 20, sale.last_position - sale.passed_position)
    first, last = sale.passed_position + 1, sale.passed_position + number
    SaleEntry.objects.filter(sale=sale, position__range=(first, last)).update(
        status="admitted",
        admitted_at=now,
        admitted_until=now + timedelta(seconds=sale.admitted_for_seconds),
        rate_per_minute=sale.rate_per_minute,
    )
    sale.passed_position, sale.last_admitted_at = last, now
    sale.save(update_fields=["passed_position", "last_admitted_at"])
    mine += number
    return ()

advancing._admit = admit
"""


@contextmanager
def processes(change="") -> Iterator[Sequence["subprocess.Popen[str]"]]:
    """So many processes that advance sales; they are killed at the end."""
    program = ADVANCING.format(change=change)
    with ExitStack() as stack:
        yield [stack.enter_context(another_process(program)) for _ in range(PROCESSES)]


def admitted(sale) -> dict[UUID, datetime]:
    found = SaleEntry.objects.filter(sale=sale, admitted_at__isnull=False)
    return dict(found.values_list("id", "admitted_at"))


def most_in_a_minute(sale) -> int:
    """The most that were admitted in any 60 s, both ends included; counted here, and not by the audit."""
    instants, minute = sorted(admitted(sale).values()), timedelta(seconds=60)
    return max(index + 1 - bisect_left(instants, at - minute) for index, at in enumerate(instants))


def broken_laws() -> list[str]:
    return [report.law for report in audit.audit() if not report.holds]


@contextmanager
def watched(sale) -> Iterator[list[UUID]]:
    """The entries that were admitted once more while the block ran, by reading all of them all the time."""
    twice: list[UUID] = []
    first: dict[UUID, datetime] = {}
    stop = threading.Event()

    def watch():
        while not stop.wait(0.2):
            now = transactions.read(lambda: admitted(sale))
            twice.extend(id for id, at in first.items() if now.get(id) != at)
            first.update(now)

    watching = in_background(watch)
    try:
        yield twice
    finally:
        stop.set()
        watching.result()


def assert_in_order(sale):
    """Positions follow one another without a gap in the order of the instants of admission."""
    found = SaleEntry.objects.filter(sale=sale, admitted_at__isnull=False).order_by("admitted_at", "position")
    positions = list(found.values_list("position", flat=True))
    assert positions == list(range(1, len(positions) + 1))


def disturb(victim: "subprocess.Popen[str]"):
    """Kill a process with -9, and lose all that Redis has."""
    victim.kill()
    assert victim.wait() == -9
    redis_client.client().flushdb()


def move_clocks(running: Sequence["subprocess.Popen[str]"], seconds: int):
    for process in running:
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"


@starts_another_process
def test_three_processes_of_which_one_is_killed_keep_the_rate_and_the_order():
    """60 a minute of 120: two minutes, of which most are made by moving the clocks on, a second at a time."""
    sale = factories.create_sale(ProductFactory(on_hand=1_000), rate_per_minute=60)
    factories.join_many(sale, 120)

    with watched(sale) as twice, processes() as [victim, *others]:
        wait_until(lambda: len(admitted(sale)) >= 5, seconds=30)
        disturb(victim)
        while (number := len(admitted(sale))) < 120:
            wait_until(lambda before=number: len(admitted(sale)) > before, seconds=30)
            move_clocks(others, 1)

    assert 55 <= most_in_a_minute(sale) <= 60
    assert twice == []
    assert_in_order(sale)
    assert broken_laws() == []


@starts_another_process
def test_processes_that_count_in_their_memory_exceed_the_rate():
    """The twin: each of three processes admits as many as all of them may."""
    sale = factories.create_sale(ProductFactory(on_hand=1_000), rate_per_minute=60)
    factories.join_many(sale, 180)

    with processes(COUNTED_IN_MEMORY):
        wait_until(lambda: len(admitted(sale)) > 60, seconds=60)

    assert most_in_a_minute(sale) > 60
    assert broken_laws() == ["L14"]


def test_a_count_that_is_read_before_the_lock_exceeds_the_rate():
    """The twin of the lock: what was counted is no longer true once the sale is locked."""
    sale = factories.create_sale(rate_per_minute=5)
    factories.join_many(sale, 20)
    all_have_counted = threading.Barrier(4)

    def admit(left):
        locked, now = terms.lock(sale.pk), clock.now()
        first = locked.passed_position + 1
        chosen = SaleEntry.objects.filter(sale=sale, position__range=(first, first + left - 1))
        until = now + timedelta(seconds=60)
        chosen.update(status="admitted", admitted_at=now, admitted_until=until, rate_per_minute=left)
        locked.passed_position += left
        locked.save(update_fields=["passed_position"])

    def count_before_the_lock():
        left = sale.rate_per_minute - len(admitted(sale))
        all_have_counted.wait(30)
        transactions.run(lambda: admit(left), transactions.ONCE)

    assert race([count_before_the_lock] * 4) == [None] * 4
    assert most_in_a_minute(sale) == 20
    assert broken_laws() == ["L14"]


def test_threads_that_advance_a_sale_at_once_keep_its_rate():
    sale = factories.create_sale(rate_per_minute=5)
    factories.join_many(sale, 20)
    works = [partial(advancing.advance, sale.pk) for _ in range(8)]

    for second, number in ((0, 1), (0, 0), (12, 1), (24, 1), (36, 1), (48, 1), (50, 0)):
        with shifted(seconds=second):
            assert sum(race(works)) == number

    assert most_in_a_minute(sale) == 5
    assert broken_laws() == []


@pytest.mark.long
@pytest.mark.boots("two more processes")
def test_5000_are_admitted_at_6000_a_minute_within_about_a_minute():
    sale = factories.create_sale(ProductFactory(on_hand=10_000), rate_per_minute=6_000)
    factories.join_many(sale, 5_000)

    with watched(sale) as twice, processes() as [victim, *_]:
        wait_until(lambda: bool(admitted(sale)), seconds=30)
        began_at = time.monotonic()
        wait_until(lambda: len(admitted(sale)) >= 2_500, seconds=60)
        disturb(victim)
        wait_until(lambda: len(admitted(sale)) == 5_000, seconds=60)
        took = time.monotonic() - began_at

    assert took < 75
    assert most_in_a_minute(sale) <= 6_000
    assert twice == []
    assert_in_order(sale)
    assert broken_laws() == []
    print(f"5,000 admitted in {took:.1f} s")
