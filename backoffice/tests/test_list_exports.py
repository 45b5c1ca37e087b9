"""Exports of the admin's lists: filtered as the page is, safe for spreadsheets, journaled, of any length."""

import csv
import gc
import io
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import given, strategies as st
from uuid_utils.compat import uuid7

from accounts.tests.clients import problem_of, signed_in
from backoffice import list_exports
from backoffice.tests.rows_of_every_model import fill_all_models, fill_coupons, fill_orders
from events.webhooks import endpoints
from foundation.http.pages import csv_format, large_responses
from foundation.models import CommittedTransaction, JournalLine
from foundation.normalization import normalized
from foundation.tests.factories import SuperuserFactory, staff_member
from foundation.tests.journal_lines import journal_line, times_noted
from inventory.imports import importing, stock_files
from inventory.tests.factories import ProductFactory
from payments.tests.factories import PaymentFactory, wallet

pytestmark = pytest.mark.django_db
PRODUCTS = "/admin/inventory/product/export/"


def text_of(response) -> str:
    assert response.status_code == 200, response
    return b"".join(response.streaming_content).decode()


def open_files() -> int:
    return sum(not file.closed for file in large_responses._open)


def rows_of(response) -> list[dict[str, str]]:
    text = text_of(response)
    assert text.startswith(csv_format.BYTE_ORDER_MARK)
    return list(csv.DictReader(io.StringIO(text.removeprefix(csv_format.BYTE_ORDER_MARK), newline="")))


def test_a_list_is_exported_as_its_page_filters_it(operator):
    for sku in ("TEA", "TEAPOT", "CUP"):
        ProductFactory(sku=sku, name=f"A {sku}", price=4_500)
    rows = rows_of(operator.get(f"{PRODUCTS}?q=TEA"))
    assert [(row["sku"], row["price"]) for row in rows] == [("TEA", "4500"), ("TEAPOT", "4500")]
    assert len(rows_of(operator.get(PRODUCTS))) == 3
    assert rows_of(operator.get(f"{PRODUCTS}?state=sold_out&q=CUP"))[0]["sku"] == "CUP"


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        (["inventory.view_product"], 403),
        (["shop.export_list"], 403),
        (["inventory.view_product", "shop.export_list"], 200),
    ],
)
def test_an_export_needs_the_view_permission_and_that_to_export(permissions, status):
    client = signed_in(staff_member(*permissions))
    response = client.get(PRODUCTS)
    assert response.status_code == status
    assert times_noted("list.exported") == (status == 200)
    list(response)


@pytest.mark.parametrize("address", [PRODUCTS, "/admin/sales/sale/export/"])
def test_an_export_counts_no_rows_and_reads_no_page_of_the_list(operator, address):
    with CaptureQueriesContext(connection) as statements:
        response = operator.get(f"{address}?q=zz")
    text_of(response)
    asked = [one["sql"] for one in statements]
    [search] = [sql for sql in asked if "%zz%" in sql]
    assert "LIMIT" not in search
    assert not [sql for sql in asked if "COUNT(*)" in sql]


@pytest.mark.parametrize("query", ["price__exact=many", "state=none_such"])
def test_an_unknown_filter_exports_nothing(operator, query):
    ProductFactory()
    assert "Nothing was exported" in operator.get(f"{PRODUCTS}?{query}", follow=True).text
    assert not times_noted("list.exported")


def test_the_journal_has_who_exported_what_with_which_filter_and_of_a_search_no_text(operator):
    """An e-mail address that staff searched for outlived the erasure of its account."""
    text_of(operator.get(f"{PRODUCTS}?q=TEA&state=available"))
    line = journal_line("list.exported")
    assert (line.actor, line.actor_name, line.subject) == ("staff", "ada", "list inventory.product")
    assert line.after["filters"] == {"q": ["(text)"], "state": ["available"]}
    assert "sku" in line.after["columns"]
    assert line.is_internal
    text_of(operator.get("/admin/shop/journalline/export/?by=ada&actor__exact=staff"))
    line = JournalLine.objects.filter(what="list.exported").latest("pk")
    assert line.after["filters"] == {"by": ["(text)"], "actor__exact": ["staff"]}


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1"])
def test_text_that_begins_like_a_formula_is_exported_as_text(operator, start):
    ProductFactory(name=f'{start}, quoted "x"\nand more', price=7)
    [row] = rows_of(operator.get(PRODUCTS))
    assert (row["name"], row["price"], row["on_hand"]) == (f'\'{start}, quoted "x"\nand more', "7", "0")


ODD_NAMES = [
    "'-40 °C",
    "''=",
    "'12",
    "@",
    "\uff20집",
    "'",
    "  +blank in front",
    "blank behind\u3000",
    "' '",
    "-' x ",
]


def test_an_export_of_products_that_is_imported_again_changes_nothing(operator):
    """Their names and skus were imported with the apostrophe that kept them from being formulas."""
    for number, name in enumerate(ODD_NAMES):
        ProductFactory(sku=f"'-{number}" if number % 2 else f"={number}", name=name)
    exported = rows_of(operator.get(PRODUCTS))
    assert len(exported) == len(ODD_NAMES)
    file = io.StringIO()
    writer = csv.DictWriter(file, stock_files.COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row | {"quantity": "0"} for row in exported)
    rows, warnings = stock_files.read_file(file.getvalue().encode())
    imported = importing.preview(rows)
    assert (imported.created, imported.changed, warnings) == (0, 0, [])


@given(
    name=st.text(alphabet=st.sampled_from("'=+-@\uff1d\uff0b \u00a0\u3000\"’,가;"), min_size=1).filter(
        str.strip
    )
    | st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=50).filter(str.strip),
    sku=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64),
)
def test_what_is_exported_is_imported_as_it_was(name, sku):
    file = csv_format.write_rows([["sku", "name", "price", "quantity"], [sku, name, 0, 0]])
    [row], _warnings = stock_files.read_file(file.encode())
    assert (row.sku, row.name) == (sku, normalized(name))


@given(st.text(st.sampled_from("'=\t\r\n@-\uff0d x가")))
def test_a_cell_that_is_read_is_the_text_that_was_written(text):
    [[cell]] = csv.reader(io.StringIO(csv_format.write_rows([[text]]), newline="")) if text else [[""]]
    assert csv_format.read_cell(cell) == text


def test_numbers_stay_numbers_and_instants_are_of_utc():
    at = datetime(2026, 11, 22, 9, 30, tzinfo=timezone(timedelta(hours=9)))
    line = csv_format.write_rows([[-5, 0, None, True, at, "-5", "nul\x00"]])
    assert line == "-5,0,,true,2026-11-22T00:30:00.000000Z,'-5,nul\r\n"


def test_every_list_of_the_admin_is_exported_without_secrets(operator):
    fill_all_models()
    seen = set()
    for model in admin.site._registry:
        address = reverse("export-list", args=[model._meta.app_label, model._meta.model_name])
        # The list of sagas shows those that need an operator unless something is chosen.
        rows = rows_of(operator.get(f"{address}?needs=everything" if model.__name__ == "Saga" else address))
        assert rows, model
        seen |= rows[0].keys()
    assert not seen & list_exports.NEVER_EXPORTED
    assert not any(word in name for name in seen for word in ("password", "token", "fingerprint", "secret"))


def test_no_list_makes_queries_for_each_row(operator):
    """A row more costs no statement more: foreign keys that the list doesn't read are exported as keys."""
    fill_all_models()
    endpoints.find()

    def statements():
        found = {}
        for model in admin.site._registry:
            address = reverse("export-list", args=[model._meta.app_label, model._meta.model_name])
            with CaptureQueriesContext(connection) as captured:
                text_of(operator.get(f"{address}?needs=everything" if model.__name__ == "Saga" else address))
            found[model.__name__] = len(captured)
        return found

    before = statements()
    fill_coupons()
    fill_orders(PaymentFactory().order)
    wallet(points=5)
    assert statements() == before


def test_all_rows_are_exported_once_whatever_the_windows(operator, monkeypatch):
    monkeypatch.setattr(list_exports, "ROWS_AT_ONCE", 8)
    User.objects.bulk_create(User(username=f"u{number:03}") for number in range(100))
    User.objects.filter(username__gt="u050", username__lt="u097").update(is_active=False)
    names = [row["username"] for row in rows_of(operator.get("/admin/auth/user/export/?is_active__exact=1"))]
    expected = list(User.objects.filter(is_active=True).order_by("pk").values_list("username", flat=True))
    assert names == expected


def test_too_many_exports_of_all_or_of_one_account_are_refused_and_a_finished_one_frees_its_place(operator):
    """One account could keep all of a process' places for as long as it read slowly."""
    ProductFactory()
    second, third = signed_in(SuperuserFactory()), signed_in(SuperuserFactory())
    own_ones = [operator.get(PRODUCTS) for _ in range(large_responses.MAX_OF_ACCOUNT)]
    refused = operator.get(PRODUCTS)
    assert problem_of(refused) == (503, "overloaded")
    assert "of this account" in refused.json()["detail"]
    assert rows_of(second.get(PRODUCTS))

    others = [second.get(PRODUCTS) for _ in range(large_responses.MAX_OF_ACCOUNT)]
    assert len(own_ones + others) == large_responses.MAX_CONCURRENT
    refused = third.get(PRODUCTS)
    assert problem_of(refused) == (503, "overloaded")
    for response in own_ones + others:
        text_of(response)
    assert rows_of(operator.get(PRODUCTS))
    assert not open_files()


@pytest.mark.parametrize(
    ("address", "what"),
    [
        (PRODUCTS, "list.exported"),
        ("/admin/reports/sales/csv/?since=2026-11-01&through=2026-11-02", "report.exported"),
    ],
)
def test_a_refused_export_is_not_journaled(operator, address, what):
    open_ones = [operator.get(address) for _ in range(large_responses.MAX_OF_ACCOUNT)]
    assert times_noted(what) == len(open_ones)
    assert operator.get(address).status_code == 503
    assert times_noted(what) == len(open_ones)
    for response in open_ones:
        text_of(response)


def test_an_export_that_cannot_be_journaled_is_not_made_and_it_or_one_that_is_lost_frees_its_place(operator):
    """An error after the view loses the response; its place was missing until the process ended."""

    def fail():
        raise OperationalError("The journal can't be written.")

    started = []
    parts = (started.append(number) or "part" for number in range(3))
    with pytest.raises(OperationalError):
        large_responses.respond(parts, account_id=1, content_type="text/csv", before_parts=fail)
    assert not open_files()
    assert not started
    ProductFactory()
    for _ in range(large_responses.MAX_OF_ACCOUNT):
        operator.get(PRODUCTS)
    gc.collect()
    assert not open_files()
    assert rows_of(operator.get(PRODUCTS))


def test_a_long_export_takes_the_memory_of_one_window(operator, monkeypatch):
    monkeypatch.setattr(list_exports, "ROWS_AT_ONCE", 50)
    add_marks(100)
    peak_of_export(operator)
    of_two_windows = peak_of_export(operator)
    add_marks(1_900)
    # All rows at once would take twenty times as much; other threads of this process take some too.
    assert peak_of_export(operator) < 5 * of_two_windows


def add_marks(count: int):
    now = datetime.now(UTC)
    CommittedTransaction.objects.bulk_create(CommittedTransaction(id=uuid7(), at=now) for _ in range(count))


def peak_of_export(operator: Client) -> int:
    """The most memory that the export takes, from the request to its last row."""
    tracemalloc.start()
    try:
        response = operator.get("/admin/shop/committedtransaction/export/")
        rows = sum(part.count(b"\n") for part in response.streaming_content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == CommittedTransaction.objects.count() + 1
    return peak
