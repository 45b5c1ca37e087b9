"""Validation of text: control characters are refused in every text field."""

from typing import Any

import pytest

from inventory.imports import stock_files
from inventory.tests.factories import ProductFactory
from shop.errors import Invalid
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory

CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("/products", {"sku": "TEA", "price": 1}, "name"),
    ("/products/{product}/stock-adjustments", {"delta": 1}, "reason"),
    ("/orders/01890a5d-ac96-774b-bcce-b302099a8057/refunds", {}, "reason"),
    ("/wallet/grants", {"user": 1, "amount": 1}, "reason"),
    ("/coupons/ABC/void", {}, "reason"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("control", ["\0", "\x07", "\x1b", "\x7f"], ids=ascii)
def test_control_characters_are_refused_in_text_fields(control: str) -> None:
    staff = client_of(AccountFactory.create(is_staff=True, is_superuser=True))
    product = ProductFactory.create()
    for path, body, field in CALLS:
        refused = staff.post(path.format(product=product.id), body | {field: f"a{control}b"}, key=path)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid"), path
        assert [(error["field"], error["code"]) for error in refused.json()["errors"]] == [
            (field, "control_character")
        ]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["a\0b", "\0", "a\x1b"], ids=ascii)
def test_control_characters_are_no_part_of_an_accounts_names(name: str) -> None:
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}
    refused = client_of().post("/users", body)
    assert refused.status_code == 400
    assert {error["field"] for error in refused.json()["errors"]} == {"username", "email"}


@pytest.mark.parametrize("control", ["\0", "\x1b"], ids=ascii)
def test_control_characters_in_a_stock_file_are_reported_with_their_line(control: str) -> None:
    with pytest.raises(Invalid) as caught:
        stock_files.read(["sku,name,price,quantity\n", "TEA,Tea,1,1\n", f"CUP,C{control}up,1,1\n"])
    [error] = caught.value.extra["errors"]
    assert (error["line"], error["field"], error["code"]) == (3, "name", "control_character")
