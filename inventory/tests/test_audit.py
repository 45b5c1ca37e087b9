from uuid import uuid4

import pytest
from django.db import connection

from inventory import adjustments, audit
from inventory.imports import importing
from inventory.imports.importing import StockRow
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory, StockMovementFactory
from shop.operations.audits.checks import merge_reports

pytestmark = pytest.mark.django_db


def reports() -> dict[str, tuple[bool, int, list[str]]]:
    merged = merge_reports(audit.audit())
    return {one.law: (one.holds, one.checked, one.offenders) for one in merged}


def test_stock_that_only_moved_by_movements_is_clean():
    product, _ = ProductFactory.create(on_hand=10), ProductFactory.create()
    adjustments.adjust(product_id=product.id, delta=-3, reason="broken")
    adjustments.receive(product_id=product.id, quantity=5, reason="delivery 7")
    assert reports() == {"L4": (True, 2, []), "L5": (True, 2, []), "L8": (True, 0, [])}


def test_stock_without_a_movement_and_movements_without_stock_are_found():
    ProductFactory.create(on_hand=10)
    grown = ProductFactory.create(on_hand=10)
    Product.objects.filter(id=grown.id).update(on_hand=11)
    moved = ProductFactory.create(on_hand=10)
    StockMovementFactory.create(product=moved, delta=-10, on_hand_after=0)
    bare = ProductFactory.create(on_hand=2)
    StockMovement.objects.filter(product=bare).delete()
    assert reports()["L5"] == (False, 4, [str(grown.id), str(moved.id), str(bare.id)])
    assert reports()["L4"] == (True, 4, [])


def test_a_delivery_that_was_received_twice_is_found():
    """5 and 100 became 205, each movement with its journal line, and no law was broken by it."""
    rows = [StockRow(line=0, sku="TEA", name="Tea", price=1, quantity=100)]
    twice, never = uuid4(), uuid4()
    importing.receive(rows, delivery_id=twice, reason="delivery")
    importing.receive(rows, delivery_id=never, reason="another")
    assert reports()["L8"] == (True, 2, [])
    StockMovement.objects.update(delivery=twice)
    holds, checked, offenders = reports()["L8"]
    assert (holds, checked, set(offenders)) == (False, 2, {str(twice), str(never)})
    assert reports()["L5"] == (True, 1, [])


@pytest.mark.django_db(transaction=True)
def test_more_reserved_than_on_hand_is_found_where_the_constraint_was_dropped():
    """A constraint can be lost in a restore, so the audit doesn't rely on it."""
    ProductFactory.create(on_hand=1)
    short, negative = ProductFactory.create(on_hand=1), ProductFactory.create(on_hand=1)
    constraint = next(
        one for one in Product._meta.constraints if one.name == "inventory_product_reserved_within_on_hand"
    )
    with connection.schema_editor() as editor:
        editor.remove_constraint(Product, constraint)
    try:
        Product.objects.filter(id=short.id).update(reserved=2)
        Product.objects.filter(id=negative.id).update(reserved=-1)
        assert reports()["L4"] == (False, 3, [str(short.id), str(negative.id)])
    finally:
        Product.objects.update(reserved=0)
        with connection.schema_editor() as editor:
            editor.add_constraint(Product, constraint)
