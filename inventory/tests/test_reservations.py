from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from events.models import FeedEvent
from foundation import clock
from foundation.db import transactions
from foundation.tests.factories import OrderFactory, set_columns
from foundation.tests.journal_lines import journal_line, journal_lines
from inventory import adjustments, availability, products, rows as stock_rows, stock_levels
from inventory.availability import COLUMNS, Line, Stock
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.models import Product, StockMovement
from inventory.tests import factories
from inventory.tests.factories import ProductFactory, levels_of, reserve

pytestmark = pytest.mark.django_db


def test_stock_is_read_as_the_product_is_and_what_does_not_exist_is_absent():
    """With a lock or without, because the SQL statement is written by hand."""
    products = [
        ProductFactory(on_hand=9, reserved=4, low_stock_threshold=3, name="차 'Tee' 100 %", version=7),
        ProductFactory(on_hand=0, is_active=False),
    ]
    ids = [products[1].id, 0, products[0].id, products[0].id]
    for stock in (stock_rows.lock_stock(ids), stock_rows.read_stock(ids)):
        assert stock == {one.id: Stock(*(getattr(one, column) for column in COLUMNS)) for one in products}
    assert stock_rows.lock_stock([]) == stock_rows.read_stock([]) == {}


def test_locking_and_saving_any_number_of_products_is_one_statement_each(django_assert_num_queries):
    products = [ProductFactory(on_hand=number + 1) for number in range(60)]
    lines = [Line(product.id, number + 1) for number, product in enumerate(products[:50])]
    # The third writes the events of the products that sell out.
    with django_assert_num_queries(3):
        stock = stock_rows.lock_stock(product.id for product in products)
        availability.reserve(stock, lines)
        stock_levels.save(stock)
    with django_assert_num_queries(0):
        stock_levels.save(stock)
    found = Product.objects.order_by("id").values_list("on_hand", "reserved")
    assert list(found) == [(n + 1, n + 1 if n < 50 else 0) for n in range(60)]


def test_the_database_refuses_more_reserved_than_on_hand_and_releases_and_sales_of_what_is_not_reserved():
    product, order = ProductFactory(on_hand=10), OrderFactory().pk
    reserve(Line(product.id, 2))
    for write in (
        lambda: set_columns(product, reserved=11),
        lambda: stock_levels.release([Line(product.id, 3)]),
        lambda: stock_levels.sell({order: [Line(product.id, 3)]}, at=clock.now()),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            write()
        assert (levels_of(product), sold()) == ((10, 2), [])


def test_selling_takes_what_was_reserved_off_hand_line_by_line():
    first, second = ProductFactory(on_hand=10), ProductFactory(on_hand=5)
    reserve(Line(first.id, 4), Line(second.id, 5))
    one, two = OrderFactory().pk, OrderFactory().pk
    stock_levels.sell(
        {one: [Line(first.id, 1), Line(second.id, 5)], two: [Line(first.id, 3)]}, at=clock.now()
    )
    assert levels_of(first) == (6, 0)
    assert levels_of(second) == (0, 0)
    assert sold() == [(first.id, -1, 9, one), (second.id, -5, 0, one), (first.id, -3, 6, two)]


def sold() -> list[tuple[int, int, int, UUID]]:
    rows = StockMovement.objects.filter(kind=StockMovement.Kind.SOLD).order_by("id")
    return list(rows.values_list("product_id", "delta", "on_hand_after", "order_id"))


def test_nothing_changes_outside_of_a_transaction(transactional_db):
    product = ProductFactory(on_hand=3)
    with transaction.atomic():
        stock = stock_rows.lock_stock([product.id])
    stock[product.id].newly_reserved = 1
    line = Line(product.id, 1)
    assert not connection.in_atomic_block
    for call in (
        lambda: stock_rows.lock_stock([product.id]),
        lambda: stock_levels.save(stock),
        lambda: stock_levels.release([line]),
        lambda: stock_levels.sell({UUID(int=1): [line]}, at=clock.now()),
        lambda: stock_levels.restock({UUID(int=1): [line]}, "returned"),
    ):
        with pytest.raises(transaction.TransactionManagementError):
            call()
    assert levels_of(product) == (3, 0)


def product_of(on_hand: int, threshold: int | None) -> Product:
    return ProductFactory(on_hand=on_hand, low_stock_threshold=threshold)


def hold(product, quantity: int):
    line = Line(product.id, quantity)
    transactions.run_or_savepoint(lambda: factories.reserve(line), transactions.KEYED)


def sent() -> list[int]:
    """What was available in each event `stock.low`."""
    lines = journal_lines("stock.low")
    return [line.after["available"] for line in lines]


def test_the_event_says_which_product_and_how_much_is_left():
    product = product_of(10, 4)
    hold(product, 6)
    line = journal_line("stock.low")
    assert line.after == {"product": product.id, "sku": product.sku, "available": 4, "threshold": 4}
    assert (line.subject, line.before) == (f"product {product.id}", {"available": 10})
    assert FeedEvent.objects.get(event_id=line.event_id).type == "stock.low"
    assert (line.actor, line.order_id, line.is_internal) == ("system", None, False)


def act(product, what: str, number: int | None):
    match what, number:
        case "hold", int():
            hold(product, number)
        case "release", int():
            transactions.run(lambda: stock_levels.release([Line(product.id, number)]), transactions.KEYED)
        case "adjust", int():
            adjustments.adjust(product_id=product.id, delta=number, reason="count")
        case "receive", int():
            adjustments.receive(product_id=product.id, quantity=number, reason="delivery")
        case "return", int():
            returned = {OrderFactory().pk: [Line(product.id, number)]}
            transactions.run(lambda: stock_levels.restock(returned, "refund"), transactions.KEYED)
        case "deliver", int():
            row = StockRow(sku=product.sku, quantity=number)
            importing.receive([row], delivery_id=uuid4(), reason="delivery")
        case _:
            products.change(product_id=product.id, low_stock_threshold=number)


@pytest.mark.parametrize(
    ("on_hand", "threshold", "steps", "expected"),
    [
        (10, 4, "hold 5, hold 1, hold 1, hold 2, release 9, hold 10", [4, 0]),
        (10, 4, "adjust -7, adjust 1, receive 1", [3]),
        (0, 4, "return 1, deliver 2", []),
        (2, None, "hold 1, hold 1", []),
        (2, 0, "hold 1, hold 1", [0]),
        (10, None, "hold 8, threshold 5, release 8, hold 6, threshold", [4]),
    ],
    ids=str,
)
def test_it_is_sent_when_the_stock_falls_to_it_and_not_again_while_low(on_hand, threshold, steps, expected):
    product = product_of(on_hand, threshold)
    for step in steps.split(", "):
        what, _, number = step.partition(" ")
        act(product, what, int(number) if number else None)
    assert sent() == expected


def test_a_refused_or_rolled_back_reservation_sends_nothing():
    product = product_of(10, 4)

    def fail():
        hold(product, 8)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transactions.run(fail, transactions.KEYED)
    assert sent() == []
