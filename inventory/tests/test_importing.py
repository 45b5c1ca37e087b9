"""Deliveries: each is received once, in chunks, continues where it ended, and blocks no sale."""

from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone

from foundation.db import transactions
from foundation.errors import Rejected
from foundation.observability import gauges
from foundation.tests.commands import run
from foundation.tests.journal_lines import journal_line
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import another_connection, ask, holding
from foundation.tests.waiting import in_background, waiting_at
from inventory import audit, doctor
from inventory.imports import importing
from inventory.imports.importing import Imported
from inventory.imports.stock_files import StockRow
from inventory.models import Delivery, Product, StockMovement
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db(transaction=True)
LOCK = "SELECT id FROM inventory_product WHERE sku = %s FOR UPDATE"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(importing, "ROWS_AT_ONCE", 2)


def rows_of(*skus: str, quantity=100) -> list[StockRow]:
    """Of a file whose first line is its header."""
    terms = {"price": 1, "quantity": quantity}
    return [StockRow(line=n, sku=sku, name=sku.lower(), **terms) for n, sku in enumerate(skus, start=2)]


def deliver(rows: Sequence[StockRow], delivery_id: UUID, **options) -> Imported:
    return importing.receive(rows, delivery_id=delivery_id, reason="delivery", **options)


def on_hand() -> dict[str, int]:
    return dict(Product.objects.values_list("sku", "on_hand"))


class Interrupted(Exception):
    """Ends a run after some of its chunks."""


def interrupt_after(rows: int) -> Callable[[int], None]:
    def end(done):
        if done >= rows:
            raise Interrupted

    return end


@pytest.mark.parametrize("lost_commit", [1, 2, 3])
def test_each_row_is_received_once_whichever_commits_answer_is_lost(tmp_path, lost_commit):
    """The first COMMIT is that of the delivery's row. 5 and 100 became 205, and no law was broken by it."""
    ProductFactory(sku="A", on_hand=5)
    delivery_id, rows = uuid4(), rows_of("A", "B", "C")
    if lost_commit > 1:
        with pytest.raises(Interrupted):
            deliver(rows, delivery_id, on_progress=interrupt_after(2 * (lost_commit - 1) - 1))
    with losing_reply_to_commit(tmp_path) as is_lost:
        assert deliver(rows, delivery_id).received == 300
        assert is_lost.is_set()
    assert on_hand() == {"A": 105, "B": 100, "C": 100}
    assert StockMovement.objects.count() == 4
    assert all(one.holds for one in audit.audit())


def test_an_interrupted_delivery_continues_where_it_ended():
    delivery_id, rows = uuid4(), rows_of("A", "B", "C", "D", "E")
    with pytest.raises(Interrupted):
        deliver(rows, delivery_id, on_progress=interrupt_after(2))
    assert on_hand() == {"A": 100, "B": 100}
    assert importing.unfinished().count() == 1
    assert b"firstcome_deliveries_unfinished 1.0" in gauges.exposition()

    progress = []
    assert deliver(rows, delivery_id, on_progress=progress.append) == Imported(5, 0, 500)
    assert progress == [4, 5]
    assert set(on_hand().values()) == {100}
    assert importing.unfinished().count() == 0
    assert all(one.holds for one in audit.audit())


def test_the_doctor_names_an_interrupted_delivery_and_the_command_that_continues_it(tmp_path):
    delivery_id, file = uuid4(), tmp_path / "delivery.csv"
    file.write_text("sku,name,price,quantity\nA,a,1,100\nB,b,1,100\nC,c,1,100\n")
    with pytest.raises(Interrupted):
        deliver(rows_of("A", "B", "C"), delivery_id, on_progress=interrupt_after(2))
    assert "unfinished deliveries: none" in run("doctor")[1], "it may be running still"

    Delivery.objects.update(started_at=timezone.now() - doctor.UNFINISHED_AFTER)
    output = run("doctor")[1]
    assert "warning  unfinished deliveries: 1 started more than 10 minutes ago" in output
    assert f"{delivery_id} (delivery), 2 of 3 rows" in output
    assert "seed_stock FILE --delivery ID" in output

    run("seed_stock", str(file), "--delivery", str(delivery_id))
    assert set(on_hand().values()) == {100}
    assert [finding.level for finding in doctor.examine()] == ["ok"]


def test_a_finished_delivery_is_not_imported_again():
    delivery_id, rows = uuid4(), rows_of("A", "B", "C")
    deliver(rows, delivery_id)
    assert deliver(rows, delivery_id) == Imported(3, 0, 300, is_repeat=True)
    assert deliver(list(reversed(rows)), delivery_id).is_repeat
    assert on_hand() == {"A": 100, "B": 100, "C": 100}


def test_a_deliverys_id_with_other_rows_is_refused_and_the_journal_names_it():
    delivery_id = uuid4()
    deliver(rows_of("A"), delivery_id)
    with pytest.raises(Rejected) as refused:
        deliver(rows_of("A", quantity=1), delivery_id)
    assert refused.value.code == "delivery_id_reused"
    assert on_hand() == {"A": 100}
    assert journal_line("stock.received").reference == f"delivery {delivery_id}"


def test_a_delivery_of_an_earlier_release_goes_on_by_the_fingerprint_of_its_rows():
    ProductFactory(sku="CUP")
    rows = [
        StockRow(line=2, sku="TEA", name="Tea", price=4500, quantity=10),
        StockRow(line=3, sku="POT", name="O'Neil's \"pot\" 녹차", price=0, quantity=0, low_stock_threshold=9),
        StockRow(line=7, sku="CUP", quantity=2, low_stock_threshold=None),
    ]
    deliver(rows, uuid4())
    fingerprint = Delivery.objects.get().fingerprint
    assert fingerprint == "781724f51860816ecbee1d0f936e6ad75a97d20e048d5dde1730dd001c214272"


def test_one_delivery_imported_by_many_threads_is_received_once():
    delivery_id, rows = uuid4(), rows_of(*"ABCDEFG")
    outcomes = race([partial(deliver, rows, delivery_id)] * 8)
    assert {(one.created, one.received) for one in outcomes} == {(7, 700)}
    assert set(on_hand().values()) == {100}
    assert StockMovement.objects.count() == 7


def test_without_the_delivery_id_as_a_key_every_run_adds():
    """The naive version: a run with an id of its own is another delivery."""
    rows = rows_of("A")
    race([lambda: deliver(rows, uuid4()) for _ in range(4)])
    assert on_hand() == {"A": 400}


def test_a_product_that_is_created_concurrently_is_updated():
    """Its row is inserted, and not committed yet, when the import finds none."""
    insert = (
        "INSERT INTO inventory_product (sku, name, price, on_hand, reserved, is_active, version, created_at)"
        " VALUES ('A', 'theirs', 7, 0, 0, 1, 0, UTC_TIMESTAMP(6))"
    )
    with holding(insert) as other:
        imported = in_background(lambda: deliver(rows_of("A"), uuid4()))
        wait_until(lambda: waiting_at("INSERT INTO `inventory_product`%") == 1)
        other.commit()
        assert imported.result(30) == Imported(created=0, changed=1, received=100)
    assert on_hand() == {"A": 100}


def test_while_a_chunk_waits_products_of_earlier_chunks_can_be_sold():
    """An import was one transaction, so each product stayed locked until the last one was written."""
    for sku in "ABC":
        ProductFactory(sku=sku, on_hand=5)
    rows = rows_of(*"ABC")
    with holding(LOCK, "C"):
        imported = in_background(lambda: deliver(rows, uuid4()))
        wait_until(lambda: Delivery.objects.filter(rows_done=2).exists())
        wait_until(lambda: waiting_at("SELECT%inventory_product%FOR UPDATE") == 1)
        with another_connection() as buyer:
            ask(buyer, "SET SESSION innodb_lock_wait_timeout = 1")
            assert ask(buyer, LOCK, "A")
    imported.result(30)
    assert set(on_hand().values()) == {105}


def test_a_preview_neither_waits_for_locks_nor_holds_any():
    """It ran the whole import and rolled it back, so the preview of a file blocked sales."""
    ProductFactory(sku="A", on_hand=5)
    with holding(LOCK, "A"):
        ask(connection, "SET SESSION innodb_lock_wait_timeout = 1")
        seen = importing.preview(rows_of("A", "B"))
    assert (seen.created, seen.changed, seen.received) == (1, 1, 200)
    assert [receipt.on_hand[1] for receipt in seen.receipts] == [105, 100]
    assert on_hand() == {"A": 5}
    assert not Delivery.objects.exists()


def test_what_is_imported_stays_when_the_database_goes_away_and_the_id_continues(tmp_path):
    delivery_id, rows = uuid4(), rows_of("A", "B", "C")
    with losing_reply_to_commit(tmp_path, is_the_end=True), pytest.raises(transactions.DatabaseUnavailable):
        deliver(rows, delivery_id)
    assert deliver(rows, delivery_id).received == 300
    assert set(on_hand().values()) == {100}
