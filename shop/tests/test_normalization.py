"""The same word typed on a Mac, a phone or a Korean keyboard is stored in one form, and found in each."""

import time
from unicodedata import normalize
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import given, strategies as st

from accounts import accounts
from coupons.tests.factories import CampaignFactory
from inventory.imports import stock_files
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory
from sales.tests.factories import create_sale
from shop.models import JournalLine
from shop.normalization import MOST_MARKS, normalized, spellings
from shop.tests.clients import client_of
from shop.tests.confirming import confirmed, shown
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.sent_forms import fields_of

pytestmark = pytest.mark.django_db
NAME = "한정판 텀블러 Café"
IN_PARTS = normalize("NFD", NAME)
WIDE = "한정판\u3000텀블러 Ｃａｆé"


def found(api, search: str) -> list[int]:
    return [one["id"] for one in api.get(f"/products?{urlencode({'search': search})}").json()["results"]]


def test_what_the_api_takes_is_stored_in_one_form() -> None:
    api = client_of(SuperuserFactory.create())
    made = api.post("/products", {"sku": "CUP", "name": IN_PARTS, "price": 1, "is_active": True})
    assert (made.status_code, made.json()["name"], Product.objects.get().name) == (201, NAME, NAME)
    moved = api.post(
        f"/products/{made.json()['id']}/stock-adjustments", {"delta": 1, "reason": IN_PARTS}, key="a"
    )
    assert (moved.json()["reason"], StockMovement.objects.get().reason) == (NAME, NAME)


def test_what_the_admin_takes_is_stored_in_one_form(operator: Client) -> None:
    form = {"sku": "CUP", "name": IN_PARTS, "price": 900, "is_active": "on"}
    assert operator.post("/admin/inventory/product/add/", form).status_code == 302
    product = Product.objects.get()
    assert product.name == NAME
    confirmed(
        operator,
        f"/admin/inventory/product/{product.pk}/move_stock/",
        kind="adjusted",
        delta=1,
        reason=IN_PARTS,
    )
    assert JournalLine.objects.get(what="stock.adjusted").detail == NAME


def test_what_files_have_is_stored_in_one_form(operator: Client) -> None:
    file = SimpleUploadedFile("delivery.csv", f"sku,name,price,quantity\nCUP,{IN_PARTS},1,1\n".encode())
    preview = shown(operator, "/admin/inventory/product/import/", file=file, reason="A delivery.")
    assert preview.context["preview"].table["rows"][0][2] == NAME
    assert stock_files.read_one({"sku": "CUP", "name": IN_PARTS, "quantity": "1"}).name == NAME


def test_a_name_that_was_stored_before_in_another_form_can_be_changed(operator: Client) -> None:
    product = ProductFactory.create(name=IN_PARTS, price=900)
    page = f"/admin/inventory/product/{product.pk}/change/"
    opened = operator.get(page).content.decode()
    assert operator.post(page, fields_of(opened, price="1000", reason="A sale.")).status_code == 302
    product.refresh_from_db()
    assert (product.name, product.price) == (IN_PARTS, 1000)
    opened = operator.get(page).content.decode()
    assert operator.post(page, fields_of(opened, name="Mug", reason="A new name.")).status_code == 302
    product.refresh_from_db()
    assert product.name == "Mug"


@pytest.mark.parametrize("stored", [NAME, IN_PARTS])
@pytest.mark.parametrize("typed", ["텀블러", "텀블러 café", NAME, IN_PARTS, WIDE, normalize("NFD", WIDE)])
def test_a_product_is_found_however_its_name_is_typed_and_was_stored(stored: str, typed: str) -> None:
    product, _ = ProductFactory.create(name=f"새 {stored}"), ProductFactory.create(name="머그")
    assert found(client_of(AccountFactory.create()), typed) == [product.pk]


@pytest.mark.parametrize("stored", [NAME, IN_PARTS])
def test_lists_of_the_admin_find_names_however_they_are_typed(operator: Client, stored: str) -> None:
    rows = {
        "inventory/product": ProductFactory.create(name=stored),
        "coupons/campaign": CampaignFactory.create(name=stored),
        "sales/sale": create_sale(ProductFactory.create(name="Mug"), name=stored),
    }
    for typed in (NAME, IN_PARTS, "텀블러 Ｃａｆé"):
        for path, row in rows.items():
            page = operator.get(f"/admin/{path}/", {"q": typed})
            assert list(page.context["cl"].result_list) == [row], (path, typed)


def test_an_account_is_found_by_its_name_however_it_is_typed() -> None:
    account = AccountFactory.create(username="텀블러cafe")
    for typed in ("텀블러", normalize("NFD", "텀블러"), "텀블러ｃａｆｅ"):
        assert accounts.find_ids(typed, most=5) == {account.pk}


def test_another_emoji_is_another_word_and_name() -> None:
    """Older collations take all four-byte characters for one."""
    gift = ProductFactory.create(name="한정판 🎁 머그")
    ProductFactory.create(name="다른 🐳 머그")
    api = client_of(AccountFactory.create())
    assert found(api, "🎁 머그") == [gift.pk]
    for rare in ("𠮷야", "𡈽야"):
        registered = api.post(
            "/users", {"username": rare, "email": "a@example.com", "password": "long-enough-pass-77"}
        )
        assert registered.status_code == 201


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_every_text_of_a_value_is_normalised_and_stays_so(value: object) -> None:
    once = normalized(value)
    assert normalized(once) == once
    if isinstance(value, str):
        assert once == normalize("NFC", value)


MARKS = "\u0300\u0316"


def test_as_many_marks_as_a_language_has_are_ordered() -> None:
    text = "a" + MARKS * (MOST_MARKS // 2)
    assert normalized(text) == normalize("NFC", text) != text


def test_text_of_marks_alone_stays_as_it_is_in_linear_time() -> None:
    """Ordering these marks takes a minute, in which no other thread runs."""
    text = "a" + MARKS * 200_000
    began_at = time.process_time()
    assert normalized({"name": [text]}) == {"name": [text]}
    assert spellings(text) == [text]
    assert time.process_time() - began_at < 1
