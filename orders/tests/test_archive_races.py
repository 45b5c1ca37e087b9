"""Archiving beside sales, refunds, imports, other archiving and restores; naive ways that break laws."""

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import F, Sum

from inventory import audit as stock_audit, movement_archive
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.models import CarriedStock, Delivery, Product, StockMovement
from inventory.tests.factories import ProductFactory
from orders import audit as order_audit
from orders.models import Order
from orders.tests import archived, buying
from orders.tests.archived import JOURNAL, MOVEMENTS, archive, broken, restore, rows_of
from orders.tests.stepping import at
from shop.db import pacing
from shop.models import ArchivedMonth, ArchivedPaidEvent, JournalLine
from shop.operations.archives.archive_files import ArchiveFailed
from shop.operations.archives.archive_tables import ArchiveTable
from shop.tests.racing import race, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def old_movements(product: Product, number: int) -> None:
    """Movements of the old month, which change nothing in sum but for the last."""
    of = {"product": product, "kind": "adjusted", "at": archived.long_ago()}
    StockMovement.objects.bulk_create(
        StockMovement(delta=1 if each % 2 else -1, on_hand_after=500 - each % 2, **of)
        for each in range(number)
    )


def receive(quantity: int, *, rows: int = 3) -> Delivery:
    id, tag = uuid4(), uuid4().hex[:6]
    wanted = [StockRow(sku=f"{tag}-{row}", name="New", price=100, quantity=quantity) for row in range(rows)]
    importing.receive(wanted, delivery_id=id, reason="It came.")
    return Delivery.objects.get(pk=id)


def buy(product: Product, times: int) -> list[Order]:
    return [
        buying.advance(buying.place(buying.account().id, {product: 1}, token="tok_ok")) for _ in range(times)
    ]


def check_until(done: threading.Event) -> tuple[int, dict[str, list[str]]]:
    """Audit what archiving moves again and again; returns how often, and what was broken at any time."""
    times, found = 0, dict[str, list[str]]()
    while not done.is_set() or times < 5:
        checks = (
            stock_audit.on_hand_is_the_sum_of_movements,
            stock_audit.carried_stock_is_what_months_took,
            stock_audit.each_delivery_came_in_once,
            order_audit.paid_orders_were_published,
            order_audit.archived_paid_events_are_counted,
        )
        for report in (check() for check in checks):
            found |= {} if report.holds else {report.law: report.offenders}
        times += 1
    return times, found


@pytest.fixture
def product() -> Product:
    """A product that has sold, was delivered and counted in the old month."""
    made: Product = ProductFactory.create(on_hand=500, price=500)
    receive(7)
    old_movements(made, 400)
    buy(made, 4)
    archived.age()
    return made


def archive_and_restore(folder: Path, table: ArchiveTable, done: threading.Event) -> None:
    try:
        for _ in range(2):
            restore(folder / archive(folder, table).file)
        archive(folder, table)
    finally:
        done.set()


@pytest.mark.parametrize("table", [MOVEMENTS, JOURNAL], ids=["movements", "journal"])
def test_every_sum_is_exact_at_every_instant_beside_sales_refunds_and_imports(tmp_path, product, table):
    done, refundable = threading.Event(), buy(product, 6)
    *others, (times, found) = race(
        [
            partial(archive_and_restore, tmp_path, table, done),
            lambda: buy(product, 8),
            lambda: [buying.execute_refund(buying.refund(order.id)) for order in refundable],
            lambda: [receive(5) for _ in range(6)],
            partial(check_until, done),
        ],
        timeout=180,
    )
    assert [outcome for outcome in others if isinstance(outcome, Exception)] == []
    assert times >= 5
    assert found == {}
    assert ArchivedMonth.objects.get().removed > 10


def test_deleted_and_carried_by_two_transactions_on_hand_is_wrong_in_between(tmp_path, product, unlawful):
    """The naive way: what is carried is written once all rows are deleted."""
    carried: list[object] = []

    def carry_later(month: ArchivedMonth, rows: object) -> dict[str, int]:
        carried.append(rows)
        return {}

    archive(tmp_path, replace(MOVEMENTS, carry=carry_later))
    assert carried
    assert broken()["L5"] == [*map(str, Product.objects.order_by("pk").values_list("pk", flat=True))]
    assert broken()["L8"] == [str(Delivery.objects.get().pk)]


def test_what_is_carried_by_a_read_and_a_write_loses_what_another_month_carries(product, unlawful):
    """The naive way: a batch writes the sum that it has read, as if there was no other archiving."""
    CarriedStock.objects.create(product=product, delta=0)
    has_read, may_write = threading.Event(), threading.Event()

    def naive() -> None:
        read = CarriedStock.objects.get(pk=product.pk)
        has_read.set()
        assert may_write.wait(30)
        CarriedStock.objects.filter(pk=product.pk).update(delta=read.delta + 5)

    def exact() -> None:
        assert has_read.wait(30)
        with transaction.atomic():
            row = {"product_id": product.pk, "delta": 7, "delivery_id": None}
            movement_archive._carry(ArchivedMonth(), [row], sign=1)
        may_write.set()

    race([naive, exact])
    assert CarriedStock.objects.get(pk=product.pk).delta == 5
    race([exact, exact])
    assert CarriedStock.objects.get(pk=product.pk).delta == 19


@pytest.mark.parametrize("table", [MOVEMENTS, JOURNAL], ids=["movements", "journal"])
def test_of_operators_who_archive_a_month_at_once_each_row_is_taken_once(tmp_path, product, table):
    before, ready = rows_of(table), archived.ready_keys(table)
    outcomes = race([lambda: archive(tmp_path, table)] * 3, timeout=180)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert all(isinstance(outcome, ArchiveFailed | AssertionError) for outcome in refused), refused
    assert len(refused) < 3
    record = ArchivedMonth.objects.get()
    assert (record.removed, record.state) == (len(ready), "archived")
    assert [path.name for path in tmp_path.glob("*.partial")] == []
    assert broken() == {}
    race([partial(restore, tmp_path / record.file)] * 3, timeout=180)
    assert rows_of(table) == before


def test_a_run_that_is_overtaken_before_it_reads_goes_on_with_the_other_s_file(tmp_path, product):
    before, overtaken = len(archived.ready_keys(MOVEMENTS)), list[str]()

    def overtake(execute: Any, sql: str, *call: Any) -> Any:
        if "MAX(" in sql and not overtaken:
            overtaken.append(sql)
            with pytest.raises(InterruptedError):
                archive(tmp_path, MOVEMENTS, at("recorded", InterruptedError))
        return execute(sql, *call)

    with connection.execute_wrapper(overtake):
        archive(tmp_path, MOVEMENTS)
    assert overtaken
    record = ArchivedMonth.objects.get()
    assert (record.removed, record.state, record.part) == (before, "archived", 1)


def test_archiving_against_restoring_ends_as_one_of_both(tmp_path, product):
    before = rows_of(MOVEMENTS)
    begun = threading.Event()

    def restore_once_begun() -> object:
        assert begun.wait(30)
        return restore(archived.file_of(tmp_path, MOVEMENTS))

    tell = at("batch committed", begun.set)
    outcomes = race([lambda: archive(tmp_path, MOVEMENTS, tell), restore_once_begun], timeout=180)
    assert any(not isinstance(outcome, Exception) for outcome in outcomes)
    if not ArchivedMonth.objects.exists():
        assert rows_of(MOVEMENTS) == before


def test_a_refund_during_the_months_archiving_is_journaled_and_paid_back(tmp_path, product):
    order = Order.objects.filter(status="paid").order_by("pk")[0]
    archive(tmp_path)
    archive(tmp_path, MOVEMENTS)
    buying.execute_refund(buying.refund(order.id))
    assert broken() == {}
    assert JournalLine.objects.filter(order_id=order.pk, what__startswith="refund").exists()
    assert StockMovement.objects.filter(order=order, kind="returned").exists()
    assert ArchivedPaidEvent.objects.filter(pk=order.pk).exists()


def test_what_is_carried_is_the_sum_of_what_went(tmp_path, product, unlawful):
    sums = dict(StockMovement.objects.values_list("product").annotate(Sum("delta")).order_by())
    archive(tmp_path, MOVEMENTS)
    assert not StockMovement.objects.exists()
    assert dict(CarriedStock.objects.values_list("product", "delta")) == sums
    delivery = Delivery.objects.get()
    assert delivery.archived == delivery.received == 21
    assert broken() == {}
    CarriedStock.objects.filter(pk=product.pk).update(delta=F("delta") + 1)
    assert [offender.split(":")[0] for offender in broken()["L5"]] == [str(product.pk), "archived movements"]
    CarriedStock.objects.filter(pk=product.pk).update(delta=F("delta") - 1)
    Delivery.objects.update(archived=20)
    assert broken() == {"L8": [str(delivery.pk)]}


def test_naive_deletes_break_the_laws(product, unlawful):
    """Without the archive's sums neither a movement nor an event may go."""
    with transaction.atomic():
        StockMovement.objects.order_by("pk")[0].delete()
        assert "L5" in broken()
    JournalLine.objects.filter(what="order.paid").order_by("pk")[0].delete()
    assert "L12" in broken()


def test_a_batch_gives_up_while_another_has_its_row_and_the_next_attempt_takes_it(
    monkeypatch, tmp_path, product
):
    monkeypatch.setattr(pacing, "PAUSE_SECONDS", 0.1)
    ready = archived.ready_keys(JOURNAL)
    attempts: list[int] = []
    wait = pacing._wait_briefly_for_locks
    monkeypatch.setattr(pacing, "_wait_briefly_for_locks", lambda: attempts.append(1) or wait())
    is_held = threading.Event()

    def hold_the_row() -> None:
        with transaction.atomic():
            JournalLine.objects.select_for_update().get(pk=min(ready))
            is_held.set()
            # The row is in the first batch.
            wait_until(lambda: len(attempts) > 1, seconds=30)

    def archive_then() -> int:
        assert is_held.wait(30)
        return archive(tmp_path, JOURNAL).removed

    assert race([hold_the_row, archive_then]) == [None, len(ready)]
