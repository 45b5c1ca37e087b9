"""Pausing a product: the journal, what stays as it is, the calls over HTTP, and the mirror."""

from typing import Any

import pytest

from inventory import adjustments, products, products as pausing
from inventory.mirror import mirror
from inventory.mirror.mirror import GateReservation
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from inventory.tests.test_api import expect_refusal, expect_wrong_fields
from shop.journal import journal
from shop.journal.journal import ActorContext
from shop.models import JournalLine
from shop.redis import redis_client
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db(transaction=True)
WHY = {"reason": "The price is wrong."}


def pause(product: Product) -> Product:
    return pausing.pause(product_id=product.pk, **WHY)


def resume(product: Product) -> Product:
    return pausing.resume(product_id=product.pk, reason="The price is right.")


def test_a_second_pause_or_resume_changes_nothing_and_is_no_second_line():
    product = ProductFactory.create(on_hand=3)
    with journal.acting(ActorContext("staff", 7, "ada")):
        paused = [pause(product) for _ in range(3)]
        resumed = [resume(product) for _ in range(3)]

    assert paused[0].paused_at is not None
    assert {one.paused_at for one in paused} == {paused[0].paused_at}
    assert {one.version for one in paused} == {product.version + 1}
    assert [(one.paused_at, one.version) for one in resumed] == [(None, product.version + 2)] * 3
    first, second = JournalLine.objects.filter(what__in=["product.paused", "product.resumed"]).order_by("id")
    assert (first.what, first.detail, second.what) == ("product.paused", WHY["reason"], "product.resumed")
    assert first.after["reason"] == WHY["reason"]
    assert {(line.subject, line.actor, line.actor_name) for line in (first, second)} == {
        (f"product {product.pk}", "staff", "ada")
    }


def test_a_paused_product_is_changed_and_restocked_and_stays_paused():
    product = ProductFactory.create(on_hand=3)
    pause(product)

    products.change(product_id=product.pk, price=5, is_active=False)
    adjustments.receive(product_id=product.pk, quantity=4, reason="delivery")

    product.refresh_from_db()
    assert (product.price, product.on_hand, product.paused_at is not None) == (5, 7, True)


def test_staff_pause_and_resume_it_over_http_and_repeats_answer_the_same():
    product = ProductFactory.create(on_hand=3)
    ada = AccountFactory.create(is_staff=True, permissions=["inventory.change_product"])
    staff, shown = client_of(ada), client_of().get(f"/products/{product.pk}").json()

    for path in ("pause", "pause", "resume", "resume"):
        answer = staff.post(f"/products/{product.pk}/{path}", WHY)
        assert (answer.status_code, answer.json()) == (200, shown)
        product.refresh_from_db()
        assert (product.paused_at is not None) == (path == "pause")

    lines = JournalLine.objects.filter(subject=f"product {product.pk}", actor_id=ada.pk).order_by("id")
    assert [line.what for line in lines] == ["product.paused", "product.resumed"]


@pytest.mark.parametrize("call", ["pause", "resume"])
def test_calls_without_a_reason_or_a_product_are_refused(call):
    product = ProductFactory.create()
    path = f"/products/{product.pk}/{call}"
    staff = client_of(AccountFactory.create(is_staff=True, permissions=["inventory.change_product"]))
    wrong: list[Any] = [None, {}, {"reason": None}, {"reason": " "}, {"reason": "x" * 501}, {"reason": 1}]
    for body in wrong:
        expect_wrong_fields(staff.post(path, body), "reason")
    expect_wrong_fields(staff.post(path, WHY | {"until": "noon"}), "until")
    expect_refusal(staff.post(f"/products/999999/{call}", WHY), 404, "not_found")
    product.refresh_from_db()
    assert product.paused_at is None


def test_the_gate_leaves_paused_products_to_the_database_and_counts_none_of_their_units(settings):
    settings.INVENTORY_STRATEGY = "redis_gate"
    product = ProductFactory.create(on_hand=1)
    pause(product)

    assert mirror.admit(GateReservation("one", {product.pk: 9})) == []

    resume(product)
    assert mirror.heal() == 0
    [short] = mirror.admit(GateReservation("two", {product.pk: 9}))
    assert short == {"product": product.pk, "requested": 9, "available": 1}
    assert mirror.admit(GateReservation("three", {product.pk: 1})) == []


def test_a_pause_that_did_not_reach_the_mirror_is_corrected_by_healing(settings):
    product = ProductFactory.create(on_hand=1)
    settings.INVENTORY_STRATEGY = "redis_gate"
    mirror.rebuild()
    Product.objects.filter(pk=product.pk).update(paused_at="2026-11-20T12:00:00Z")

    assert mirror.heal() == 1

    assert redis_client.client().hget(mirror.key(product.pk), "is_active") == b"0"
    assert mirror.heal() == 0
