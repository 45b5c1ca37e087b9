"""Products and stock when the answer to a COMMIT is lost: 5 + 100 is 105 after any number of attempts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory import adjustments, audit, products
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory
from shop.tests.lost_replies import losing_reply_to_commit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product() -> Product:
    made: Product = ProductFactory.create(sku="TEA", price=7, on_hand=5)
    return made


@pytest.fixture
def _loss(product: Product, tmp_path: Path) -> Iterator[None]:
    """The answer to the test's first COMMIT is lost; the product exists before it."""
    with losing_reply_to_commit(tmp_path) as is_lost:
        yield
        assert is_lost.is_set()
    assert all(one.holds for one in audit.audit())


@pytest.mark.usefixtures("_loss")
def test_a_created_product_is_returned_and_not_refused_for_its_own_sku() -> None:
    made = products.create(sku="CUP", name="Cup", price=9)
    assert Product.objects.get(sku="CUP").pk == made.pk


@pytest.mark.usefixtures("_loss")
def test_a_changed_product_is_changed_once(product: Product) -> None:
    changed = products.change(product_id=product.pk, price=8)
    assert (changed.price, changed.version) == (8, product.version + 1)
    assert Product.objects.get(pk=product.pk).version == product.version + 1


@pytest.mark.usefixtures("_loss")
def test_goods_are_received_once(product: Product) -> None:
    moved = adjustments.receive(product_id=product.pk, quantity=100, reason="delivery")
    assert moved.on_hand_after == 105
    assert Product.objects.get(pk=product.pk).on_hand == 105
    assert StockMovement.objects.filter(reason="delivery").count() == 1


@pytest.mark.usefixtures("_loss")
def test_a_count_is_corrected_once(product: Product) -> None:
    assert adjustments.adjust(product_id=product.pk, delta=-3, reason="broken").on_hand_after == 2
    assert Product.objects.get(pk=product.pk).on_hand == 2
