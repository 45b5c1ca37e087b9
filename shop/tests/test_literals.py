"""What is typed is read in one form: instants and numbers, in every way in, and text; amounts are shown so.

A campaign that was to open on "20270301" opened at once: the digits were taken for seconds since 1970.
"""

import csv
import re
import time
import typing
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO, StringIO
from typing import Any
from unicodedata import normalize
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django import forms
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

import shop.urls  # noqa: F401 - imports every call's schemas and every page's forms
from accounts import accounts
from accounts.tests.clients import client_of, new_customer, new_superuser
from coupons.codes import line_files
from coupons.tests.factories import CampaignFactory
from foundation import form_fields, literals
from foundation.errors import Invalid
from foundation.http.validation import Input, Query
from foundation.money import format_amount, format_number
from foundation.normalization import MOST_MARKS, normalized, spellings
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import confirmed, shown
from foundation.tests.factories import AccountFactory, SuperuserFactory
from foundation.tests.journal_lines import journal_line
from foundation.tests.sent_forms import fields_of
from inventory.imports import stock_files
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory
from sales.tests.factories import create_sale
from scripts.stack import places
from shop import configuration

pytestmark = pytest.mark.django_db
NO_INSTANTS = (
    *("20270301", "20270301100000", "46082", "0", "-1", "1772355600", "1772355600.5"),
    *("1e9", "Infinity", "NaN"),
    *("2026-02-30T10:00:00Z", "2026-11-25", "2026-11-25T10:00:00", "2026-11-25 10:00:00Z", "10:00:00Z"),
    *("2026-11-25T10:00Z", "2026-11-25T24:00:00Z", "2026-12-31T23:59:60Z", "2026-11-25T10:00:00+0900"),
    *("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "0001-01-01T00:00:00+09:00"),
    *("9999-12-31T23:59:59-09:00", "２０２６-11-25T10:00:00Z", "٢٠٢٦-11-25T10:00:00Z"),
    *(" 2026-11-25T10:00:00Z", "2026-11-25T10:00:00Z\n", ""),
    *("2026-W48-3T10:00:00Z", "20261125T100000Z", "11/25/2026", "Nov 25 2026", "2026-11-25T10:00:00,5Z"),
)
NO_NUMBERS = (
    *("1e3", "Infinity", "NaN", "٣", "３", "1_000", "1,000", "1.0", " 1", "1 "),
    *("+1", "0x1", "1\n", "½", "", "9" * 20),
)
OF_OTHER_TYPES = (
    *(True, False, 1, 0, -1, 1.0, 1.5, [], [1], {}, {"a": 1}),
    *("text", "1", "true", *NO_NUMBERS, *NO_INSTANTS),
)


def shapes(of: type[Any]) -> Iterator[type[Any]]:
    for each in of.__subclasses__():
        yield each
        yield from shapes(each)


def types_of(annotation) -> set[Any]:
    inner = typing.get_args(annotation)
    return set().union(*map(types_of, inner)) if inner else {annotation}


FIELDS = [
    (shape, name, types_of(field.annotation) - {type(None)})
    for shape in sorted(shapes(Input), key=lambda shape: shape.__qualname__)
    for name, field in shape.model_fields.items()
]
ALONE = {
    kind: [(shape, name) for shape, name, kinds in FIELDS if kinds == {kind}]
    for kind in (int, bool, str, datetime, UUID)
}


def is_refused(shape: type[Any], name: str, value) -> bool:
    with pytest.raises(ValidationError) as refusal:
        shape.model_validate({name: value, "no such field": 1})
    return any(error["loc"][0] == name for error in refusal.value.errors())


MISSES = {
    datetime: [*OF_OTHER_TYPES],
    UUID: [*OF_OTHER_TYPES, "0" * 32, "{" + "0" * 8 + "}", "urn:uuid:1"],
    **{kind: [one for one in OF_OTHER_TYPES if type(one) is not kind] for kind in (int, bool, str)},
}


@pytest.mark.parametrize("kind", MISSES, ids=lambda kind: kind.__name__)
def test_a_field_takes_no_value_of_another_type_or_form(kind):
    fields = ALONE[kind]
    assert fields
    assert [(*field, miss) for field in fields for miss in MISSES[kind] if not is_refused(*field, miss)] == []


def test_query_parameters_take_no_other_digits():
    taken = []
    for shape in shapes(Query):
        for name, field in shape.model_fields.items():
            kinds = types_of(field.annotation) - {type(None)}
            misses = NO_NUMBERS if kinds == {int} else ["0" * 32] if kinds == {UUID} else []
            for miss in misses:
                try:
                    taken.append((shape.__name__, name, miss, shape.model_validate({name: miss})))
                except ValidationError:
                    continue
    assert taken == []


@given(st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 30)), st.integers(-1439, 1439))
def test_every_instant_of_that_form_is_read(at, offset):
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text = f"{at.isoformat(timespec='microseconds')}{sign}{minutes // 60:02}:{minutes % 60:02}"
    assert literals.instant(text) == datetime.fromisoformat(text).astimezone(UTC)
    assert literals.instant(f"{at.isoformat(timespec='seconds')}Z".lower()).tzinfo == UTC


DJANGO_FIELDS = (forms.IntegerField, forms.DateField, forms.DateTimeField, forms.SplitDateTimeField)
STRICT_FIELDS = (
    form_fields.WholeNumberField,
    form_fields.DayField,
    form_fields.InstantField,
    form_fields.DayOrInstantField,
)


def test_no_page_has_a_number_or_an_instant_that_django_reads():
    """Of the admin's pages that add and change a row, and of the forms that this project declares."""
    request = RequestFactory().get("/admin/")
    request.user = SuperuserFactory.build()
    adding = [pages for pages in admin.site._registry.values() if pages.has_add_permission(request)]
    shown = [(form, form.base_fields) for form in (pages.get_form(request) for pages in adding)]
    declared = [form for form in shapes(forms.BaseForm) if form.__module__.split(".")[0] in places.APPS]
    shown += [(form, getattr(form, "declared_fields", {})) for form in declared]
    fields = [
        (form.__qualname__, name, field)
        for form, of_form in shown
        for name, field in of_form.items()
        if isinstance(field, DJANGO_FIELDS)
    ]
    assert {"quantity", "opens_at", "price", "delta", "since", "days"} <= {name for _, name, _ in fields}
    assert [found for found in fields if not isinstance(found[2], STRICT_FIELDS)] == []


def refuses(field, value) -> bool:
    try:
        field.clean(value)
    except forms.ValidationError:
        return True
    return False


def test_a_form_takes_no_other_numbers_and_instants():
    numbers = [*filter(None, NO_NUMBERS), "46082.0", "1,000", "１２０００"]
    assert [miss for miss in numbers if not refuses(form_fields.WholeNumberField(), miss)] == []
    for miss in set(NO_INSTANTS) - {"2026-11-25T10:00:00", "", "2026-11-25 10:00:00Z"}:
        assert refuses(form_fields.InstantField(), miss), miss
        if miss != "2026-11-25":
            assert refuses(form_fields.DayOrInstantField(), miss), miss
            assert refuses(form_fields.DayField(), miss), miss


def test_a_form_takes_what_the_browser_sends():
    at = datetime(2026, 11, 25, 10, tzinfo=UTC)
    for text in ("2026-11-25T10:00", "2026-11-25T10:00:00", "2026-11-25T19:00:00+09:00"):
        assert form_fields.InstantField().clean(text) == at
    assert form_fields.DayOrInstantField().clean("2026-11-25") == at.replace(hour=0)
    assert form_fields.DayField().clean("2026-11-25") == at.date()
    assert form_fields.WholeNumberField().clean("-3") == -3


STOCK_COLUMNS = ["sku", "name", "price", "quantity", "low_stock_threshold"]
# Blanks round a cell are no part of it, and an empty threshold means never.
NO_CELLS = [
    cell
    for cell in (*NO_NUMBERS, *NO_INSTANTS, "-1", "46082.0", "1,200", "₩100", "１２０")
    if not re.fullmatch("[0-9]{0,19}", cell.strip())
]


def csv_of(*rows: Sequence[str]) -> str:
    file = StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue()


@settings(max_examples=300)
@given(
    column=st.sampled_from([2, 3, 4]),
    # But for those in which spreadsheets write an amount.
    miss=st.sampled_from([cell for cell in NO_CELLS if cell not in ("1,000", "1,200", "₩100")]),
    before=st.integers(0, 3),
)
def test_a_cell_of_stock_that_is_no_number_is_named_by_line_and_column(column, miss, before):
    rows = [[f"S{line}", "Cup", "100", "1", ""] for line in range(before + 2)]
    rows[before][column] = miss
    with pytest.raises(Invalid) as refused:
        stock_files.read(StringIO(csv_of(STOCK_COLUMNS, *rows), newline=""))
    [error] = refused.value.extra["errors"]
    # A cell with a line break ends a line further down.
    line = before + 2 + miss.count("\n")
    assert (error["line"], error["field"], error["code"]) == (line, STOCK_COLUMNS[column], "not_a_number")


@given(miss=st.sampled_from([cell for cell in NO_CELLS if "\n" not in cell]), before=st.integers(0, 3))
def test_a_line_that_is_no_account_is_named(miss, before):
    lines = csv_of(["user"], *[["7"]] * before, [miss], ["8"])
    [piece] = line_files.pieces(BytesIO(lines.encode()), kind=line_files.ACCOUNTS)
    assert [bad.line for bad in piece.errors] == [before + 2]
    assert piece.texts == ["7"] * before + ["8"]


@pytest.mark.parametrize("digits", ["٣", "３", "1e3", "1_0", "inf", "nan", " 3"])
def test_settings_and_commands_take_ascii_digits_alone(digits, monkeypatch):
    for name in ("WEB_WORKERS", "SWEEP_SECONDS"):
        monkeypatch.setenv(name, digits)
    for read in (
        lambda: configuration.number("WEB_WORKERS"),
        lambda: configuration.number("SWEEP_SECONDS", float),
    ):
        with pytest.raises(ImproperlyConfigured, match="it must be a number"):
            read()
    monkeypatch.setenv("RATE_ORDERS", f"{digits}/m")
    with pytest.raises(ImproperlyConfigured, match="times per window"):
        configuration.rate("RATE_ORDERS")
    with pytest.raises(CommandError, match="must be a whole number"):
        call_command("seed_demo", "--users", digits)


@given(miss=st.sampled_from([m for m in NO_INSTANTS if m not in ("2026-11-25", "2026-11-25T10:00:00")]))
def test_a_command_takes_no_other_instants(miss):
    for command, option in (("reconcile", "--since"), ("replay_events", "--before")):
        with pytest.raises(CommandError, match=f"{option}: .* (must be an instant|is out of range)"):
            call_command(command, f"{option}={miss}")


# The same word typed on a Mac, a phone or a Korean keyboard is stored in one form, and found in each

NAME = "한정판 텀블러 Café"
IN_PARTS = normalize("NFD", NAME)
WIDE = "한정판\u3000텀블러 Ｃａｆé"


def found(api, search: str) -> list[int]:
    return [one["id"] for one in api.rows(f"/products?{urlencode({'search': search})}")]


def test_what_the_api_takes_is_stored_in_one_form():
    api = new_superuser()
    made = api.post("/products", {"sku": "CUP", "name": IN_PARTS, "price": 1, "is_active": True})
    assert (made.status_code, made.json()["name"], Product.objects.get().name) == (201, NAME, NAME)
    path = f"/products/{made.json()['id']}/stock-adjustments"
    moved = api.post(path, {"delta": 1, "reason": IN_PARTS}, key="a")
    assert (moved.json()["reason"], StockMovement.objects.get().reason) == (NAME, NAME)


def test_what_the_admin_and_files_take_is_stored_in_one_form(operator):
    file = SimpleUploadedFile("delivery.csv", f"sku,name,price,quantity\nCUP,{IN_PARTS},1,1\n".encode())
    preview = shown(operator, "/admin/inventory/product/import/", file=file, reason="A delivery.")
    assert preview.context["preview"].table["rows"][0][2] == NAME
    assert stock_files.read_one({"sku": "CUP", "name": IN_PARTS, "quantity": "1"}).name == NAME
    form = {"sku": "CUP", "name": IN_PARTS, "price": 900, "is_active": "on"}
    assert operator.post("/admin/inventory/product/add/", form).status_code == 302
    product = Product.objects.get()
    assert product.name == NAME
    page = f"/admin/inventory/product/{product.pk}/move_stock/"
    confirmed(operator, page, kind="adjusted", delta=1, reason=IN_PARTS)
    assert journal_line("stock.adjusted").detail == NAME


def test_a_name_that_was_stored_before_in_another_form_can_be_changed(operator):
    product = ProductFactory(name=IN_PARTS, price=900)
    page = f"/admin/inventory/product/{product.pk}/change/"
    opened = operator.get(page).text
    assert operator.post(page, fields_of(opened, price="1000", reason="A sale.")).status_code == 302
    product.refresh_from_db()
    assert (product.name, product.price) == (IN_PARTS, 1000)
    opened = operator.get(page).text
    assert operator.post(page, fields_of(opened, name="Mug", reason="A new name.")).status_code == 302
    product.refresh_from_db()
    assert product.name == "Mug"


@pytest.mark.parametrize("stored", [NAME, IN_PARTS])
def test_a_product_is_found_however_its_name_is_typed_and_was_stored(operator, stored):
    """So are other rows, in lists of the admin; and an account by its name."""
    rows = {
        "inventory/product": ProductFactory(name=f"새 {stored}"),
        "coupons/campaign": CampaignFactory(name=stored),
        "sales/sale": create_sale(ProductFactory(name="머그"), name=stored),
    }
    account = AccountFactory(username="텀블러cafe")
    for typed in ("텀블러", "텀블러 café", NAME, IN_PARTS, WIDE, normalize("NFD", WIDE), "텀블러 Ｃａｆé"):
        assert found(client_of(account), typed) == [rows["inventory/product"].pk]
        for path, row in rows.items():
            page = operator.get(f"/admin/{path}/", {"q": typed})
            assert list(page.context["cl"].result_list) == [row], (path, typed)
    for typed in ("텀블러", normalize("NFD", "텀블러"), "텀블러ｃａｆｅ"):
        assert accounts.find_ids(typed, most=5) == {account.pk}


def test_another_emoji_is_another_word_and_name():
    """Older collations take all four-byte characters for one."""
    gift = ProductFactory(name="한정판 🎁 머그")
    ProductFactory(name="다른 🐳 머그")
    api = new_customer()
    assert found(api, "🎁 머그") == [gift.pk]
    for rare in ("𠮷야", "𡈽야"):
        account = {"username": rare, "email": "a@example.com", "password": "long-enough-pass-77"}
        assert api.post("/users", account).status_code == 201


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_every_text_of_a_value_is_normalised_and_stays_so(value):
    once = normalized(value)
    assert normalized(once) == once
    if isinstance(value, str):
        assert once == normalize("NFC", value)


def test_as_many_marks_as_a_language_has_are_ordered_and_text_of_marks_alone_stays_in_linear_time():
    """Ordering these marks takes a minute, in which no other thread runs."""
    marks = "\u0300\u0316"
    text = "a" + marks * (MOST_MARKS // 2)
    assert normalized(text) == normalize("NFC", text) != text
    text = "a" + marks * 200_000
    began_at = time.process_time()
    assert normalized({"name": [text]}) == {"name": [text]}
    assert spellings(text) == [text]
    assert time.process_time() - began_at < 1


@in_one_test(
    ("amount", "currency", "text"),
    [
        (12_500, "KRW", "12,500 KRW"),
        (-7, "JPY", "-7 JPY"),
        (320, "EUR", "3.20 EUR"),
        (-5, "USD", "-0.05 USD"),
        (1_234_567, "KWD", "1,234.567 KWD"),
        (0, "USD", "0.00 USD"),
        (10**18 + 1, "USD", "10,000,000,000,000,000.01 USD"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency_or_of_that_of_the_shop(settings, amount, currency, text):
    settings.CURRENCY = currency
    assert format_amount(amount) == format_amount(amount, currency) == text
    assert format_number(amount, currency) == text.removesuffix(f" {currency}")
