"""Admin pages of sales and their waiting rooms' entries; and the script that checks a draw."""

import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from foundation import clock
from foundation.admin_base.forms import SENT_BEFORE
from foundation.models import JournalLine
from foundation.money import format_amount
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import SuperuserFactory, set_columns, staff_member
from foundation.tests.instants import ago, from_now
from foundation.tests.journal_lines import journal_line
from foundation.tests.sent_forms import fields_of
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from sales import terms
from sales.models import Sale, SaleEntry
from sales.tests.factories import create_sale, join, join_all
from sales.waiting_room import advancing, draw
from scripts.tests import documented, programs

pytestmark = pytest.mark.django_db
WHY = "It was announced so."
ADD, LIST, ENTRIES = "/admin/sales/sale/add/", "/admin/sales/sale/", "/admin/sales/saleentry/"


def new_form(*products: Product, **changed) -> dict[str, Any]:
    """The form of a new sale, which opens tomorrow for a day."""
    opens_at = from_now(days=1)
    named = {"form_id": str(uuid7()), "name": "Drop", "products": [product.pk for product in products]}
    opening = {"opens_at": f"{opens_at:%Y-%m-%d}T12:00:00"}
    closing = {"closes_at": f"{opens_at + timedelta(days=1):%Y-%m-%d}T12:00:00"}
    terms = {"admission": "queue", "rate_per_minute": 60, "admitted_for_seconds": 2}
    return named | opening | closing | terms | changed


def page_of(sale) -> str:
    return f"/admin/sales/sale/{sale.pk}/change/"


def shown(client, page: str) -> str:
    return client.get(page).text


def change(client, sale, **changed):
    """Send the sale's page with these fields changed, as a browser would."""
    page = shown(client, page_of(sale))
    products = re.findall(r'name="initial-products" value="(\d+)"', page)
    sent: dict[str, Any] = fields_of(page, reason=WHY) | {"initial-products": products, "products": products}
    return client.post(page_of(sale), sent | changed)


def test_a_sale_is_added_once_with_its_products(operator):
    tea, mug = ProductFactory.create_batch(2)
    form = new_form(tea, mug)

    answers = [operator.post(ADD, form).status_code for _ in range(2)]

    sale = Sale.objects.get()
    assert answers == [302, 302]
    assert (sale.rate_per_minute, sale.admitted_for_seconds, sale.is_queued) == (60, 120, True)
    assert terms.product_ids_of(sale.pk) == {tea.pk, mug.pk}
    assert str(SENT_BEFORE) in shown(operator, LIST)
    assert str(tea) in shown(operator, page_of(sale))
    of_field = {"app_label": "sales", "model_name": "saleproduct", "field_name": "product", "term": tea.sku}
    [choice] = operator.get("/admin/sales/sale/products/", of_field).json()["results"]
    assert choice["text"] == f"{tea} · {format_amount(tea.price)} · 0 left"
    assert LogEntry.objects.filter(object_id=str(sale.pk)).exists()


@in_one_test("value", ["0001-01-01", "1e400", "", "\x00", "²", "9" * 30, "9" * 5_000])
def test_products_that_are_no_ids_are_refused_in_a_message(value, operator):
    tea = ProductFactory(on_hand=1)
    sale = create_sale(tea, opens_in=3_600, closes_in=7_200)

    added = operator.post(ADD, new_form(products=[tea.pk, value]))
    changed = change(operator, sale, products=[tea.pk, value])

    assert [added.status_code, changed.status_code] == [200, 200]
    assert all(f'<option value="{tea.pk}" selected' in one.text for one in (added, changed))
    assert Sale.objects.count() == 1


def test_a_change_is_journaled_with_its_reason_and_changes_nothing_else(operator):
    sale = create_sale(opens_in=3_600, closes_in=7_200)

    answer = change(operator, sale, rate_per_minute=30)

    after = Sale.objects.get()
    line = journal_line("sale.changed")
    assert answer.status_code == 302
    assert (after.rate_per_minute, after.opens_at, after.version) == (30, sale.opens_at, 1)
    assert (line.detail, line.before, line.after) == (WHY, {"rate_per_minute": 600}, {"rate_per_minute": 30})
    assert change(operator, sale, rate_per_minute=20, reason="").status_code == 200
    assert Sale.objects.get().rate_per_minute == 30


def test_products_are_replaced_and_those_of_a_meanwhile_changed_sale_are_not(operator):
    tea, mug = ProductFactory.create_batch(2, on_hand=1)
    sale = create_sale(tea, opens_in=3_600, closes_in=7_200)
    stale = fields_of(shown(operator, page_of(sale)), reason=WHY)

    change(operator, sale, products=[mug.pk])
    both = {"initial-products": [tea.pk], "products": [tea.pk, mug.pk]}
    refused = operator.post(page_of(sale), stale | both)

    assert terms.product_ids_of(sale.pk) == {mug.pk}
    history = shown(operator, f"{page_of(sale).removesuffix('change/')}history/")
    assert f"Products: {tea} → {mug}" in history
    assert "changed since the page was opened" in refused.text


def test_the_seed_is_shown_nowhere_before_the_draw(operator):
    sale = create_sale(opens_in=3_600, closes_in=7_200)
    join(sale)
    change(operator, sale, name="Other")
    operator.post(f"{page_of(sale).removesuffix('change/')}pause/", {"form_id": str(uuid7()), "reason": WHY})
    of_sale = [page_of(sale), f"{page_of(sale).removesuffix('change/')}history/"]
    of_sales = [LIST, f"{LIST}?q={sale.seed}", f"{LIST}export/"]
    of_entries = [ENTRIES, f"{ENTRIES}{SaleEntry.objects.get().pk}/change/", f"{ENTRIES}export/"]

    for page in [*of_sale, *of_sales, *of_entries, "/admin/", f"/admin/search/?q={sale.seed}"]:
        answer = operator.get(page)
        text = b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]
        # The search repeats what is searched for.
        assert sale.seed.encode() not in text or "?q=" in page, page
    stored = [*JournalLine.objects.values_list("before", "after", "detail"), *LogEntry.objects.values_list()]
    assert sale.seed not in str(stored)
    assert "Secret until the draw" in shown(operator, page_of(sale))

    set_columns(sale, opens_at=clock.now())
    draw.close_if_due(Sale.objects.get())
    assert sale.seed in shown(operator, page_of(sale))


def test_without_the_right_the_page_of_a_product_names_no_sale():
    product = ProductFactory(on_hand=1)
    sale = create_sale(product)
    viewer = signed_in(staff_member("inventory.view_product"))

    assert page_of(sale) not in shown(viewer, reverse("product-page", args=[product.pk]))


def test_who_may_only_view_sees_the_terms_and_no_form():
    sale = create_sale(ProductFactory(sku="TEA-7"), opens_in=3_600, closes_in=7_200)
    viewer = signed_in(staff_member("sales.view_sale"))

    page = shown(viewer, page_of(sale))

    assert "TEA-7" in page and sale.seed_hash in page
    assert 'name="rate_per_minute"' not in page and sale.seed not in page


NUMBER = 7
ALL = "all of them, and no other one"


@pytest.fixture
def files(tmp_path):
    """A folder with the script, and the files that the page has people save: of a sale with seven entries."""
    blocks = documented.blocks(documented.page("howto/check-a-draw.md"))
    for script in [block for block in blocks if block.title in ("check_draw.py", "sort_entries.py")]:
        (tmp_path / script.title).write_text(script.text)
    sale = create_sale(opens_in=3_600, closes_in=7_200)
    join_all(sale, NUMBER)
    address = f"/api/v1/sales/{sale.pk}/draw"
    (tmp_path / "before.json").write_text(shown(Client(), address))
    set_columns(sale, opens_at=ago(seconds=1))
    advancing.advance(sale.pk)
    join_all(sale, 1)
    (tmp_path / "after.json").write_text(shown(Client(), address))
    in_order = SaleEntry.objects.filter(sale=sale, position__lte=NUMBER).order_by("position")
    (tmp_path / "ids.txt").write_text("".join(f"{entry.pk}\n" for entry in in_order))
    return tmp_path


def run(files: Path, *arguments: str) -> tuple[int, str]:
    """The script's exit code and output, by Python without the project's packages."""
    given = arguments or ("check_draw.py", "before.json", "after.json", "ids.txt")
    ran = programs.end([sys.executable, "-I", "-S", *given], files)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.boots("a Python process")
def test_a_real_draw_is_found_right_and_so_is_the_list_that_an_operator_exports(files):
    """The list has the entry that joined after the opening as well, and is in the order of the keys."""
    code, said = run(files)
    assert (code, "These 7 entries are in the order" in said, ALL in said) == (0, True, True), said
    exported = signed_in(SuperuserFactory()).get("/admin/sales/saleentry/export/")
    (files / "entries.csv").write_bytes(b"".join(exported.streaming_content))
    code, ids = run(files, "sort_entries.py", "entries.csv")
    assert (code, len(ids.split())) == (0, NUMBER + 1), ids
    (files / "ids.txt").write_text(ids)

    code, said = run(files)

    assert (code, ALL in said) == (0, True), said


@pytest.mark.boots("a Python process")
def test_ones_own_entries_are_enough_to_check_their_order(files):
    ids = (files / "ids.txt").read_text().splitlines(keepends=True)
    (files / "ids.txt").write_text("".join(ids[2:5]))

    code, said = run(files)

    assert (code, ALL in said) == (0, False), said
    assert "not checked: 7 took part" in said


@pytest.mark.boots("a Python process")
@in_one_test(
    ("public", "order"),
    [
        ({"seed": "0" * 64}, range(NUMBER)),
        ({"seed_hash": "0" * 64}, range(NUMBER)),
        ({"entries_hash": "0" * 64}, range(NUMBER)),
        # Two places swapped, one entry twice, and one that took no part.
        ({}, [1, 0, *range(2, NUMBER)]),
        ({}, [0, 0, *range(2, NUMBER)]),
        ({}, [0, 1, 2, NUMBER, *range(4, NUMBER)]),
    ],
)
def test_a_value_that_was_changed_is_found(files, public, order):
    draw = json.loads((files / "after.json").read_text())
    ids = [*(files / "ids.txt").read_text().split(), str(uuid4())]
    (files / "changed.json").write_text(json.dumps(draw | public))
    (files / "changed.txt").write_text("\n".join(ids[place] for place in order))

    code, said = run(files, "check_draw.py", "before.json", "changed.json", "changed.txt")

    assert code == 1, said
