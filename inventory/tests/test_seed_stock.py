from collections.abc import Sequence
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from foundation.models import JournalLine
from foundation.tests.outages import database_away
from foundation.tests.racing import race_each
from inventory import audit
from inventory.imports import importing
from inventory.imports.importing import Imported
from inventory.imports.stock_files import StockRow
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def csv_file(tmp_path):
    """Write a CSV file and return its path."""

    def write(text):
        path = tmp_path / "stock.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def seed(*arguments: str) -> str:
    out = StringIO()
    call_command("seed_stock", *arguments, stdout=out)
    return out.getvalue()


def deliver(rows: Sequence[StockRow], **options) -> Imported:
    return importing.receive(rows, **{"delivery_id": uuid4(), "reason": "delivery"} | options)


def refusal(*arguments: str) -> list[str]:
    """The lines of the command's error; nothing may have been written."""
    before = list(Product.objects.values()), StockMovement.objects.count()
    with pytest.raises(CommandError) as error:
        seed(*arguments)
    assert (list(Product.objects.values()), StockMovement.objects.count()) == before
    return str(error.value).splitlines()


def products() -> list[tuple[str, str, int, int]]:
    return list(Product.objects.order_by("sku").values_list("sku", "name", "price", "on_hand"))


def test_a_delivery_that_is_run_again_by_its_id_is_received_once(csv_file):
    file, delivery = csv_file("sku,name,price,quantity\nTEA,Tea,1,3\n"), str(uuid4())
    said = "Products created: 1, changed: 0. Units received: 3.\n"
    assert seed(file, "--delivery", delivery) == said
    repeated = f"It was imported before, nothing was received again: {said}"
    assert seed(file, "--delivery", delivery) == repeated
    assert products() == [("TEA", "Tea", 1, 3)]
    assert StockMovement.objects.get().reason == "seed_stock stock.csv"


def test_an_interrupted_delivery_names_the_command_that_continues_it(transactional_db, csv_file):
    file, delivery = csv_file("sku,name,price,quantity\nTEA,Tea,1,3\n"), str(uuid4())
    with database_away(), pytest.raises(CommandError, match=f"continue with --delivery {delivery}"):
        seed(file, "--delivery", delivery)


def test_a_dry_run_shows_what_each_line_would_do_and_writes_nothing(csv_file):
    ProductFactory(sku="CUP", name="Old cup", price=1, on_hand=5)
    ProductFactory(sku="POT", name="Pot", price=7)
    before = list(Product.objects.values())
    file = csv_file("sku,name,price,quantity\nTEA,Tea,1,3\nCUP,Cup,900,2\nPOT,Pot,7,0\n")
    assert seed(file, "--dry-run").splitlines() == [
        "line 2: TEA: new, 3 received, 3 on hand afterwards",
        "line 3: CUP: name 'Old cup' -> 'Cup', price 1 -> 900, 2 received, 7 on hand afterwards",
        "line 4: POT: stays as it is",
        "Dry run, nothing was written: Products created: 1, changed: 1. Units received: 5.",
    ]
    assert list(Product.objects.values()) == before
    assert StockMovement.objects.count() == 1
    assert not JournalLine.objects.exists()
    one = seed("--sku", "CUP", "--quantity", "1", "--dry-run")
    assert one.startswith("CUP: 1 received, 6 on hand afterwards\n")


def test_a_file_may_set_and_remove_thresholds(csv_file):
    for sku in ("HIGH", "NONE", "KEPT"):
        ProductFactory(sku=sku, name="It", price=1, low_stock_threshold=5)
    seed(csv_file("sku,name,price,quantity,low_stock_threshold\nHIGH,It,1,0,9\nNONE,It,1,0,\nNEW,It,1,0,3\n"))
    seed(csv_file("sku,name,price,quantity\nKEPT,It,1,0\n"))
    found = dict(Product.objects.values_list("sku", "low_stock_threshold"))
    assert found == {"HIGH": 9, "NONE": None, "NEW": 3, "KEPT": 5}
    bad = csv_file("sku,name,price,quantity,low_stock_threshold\nHIGH,It,1,0,many\n")
    assert refusal(bad)[1].startswith("line 2: low_stock_threshold: ")


def test_every_bad_line_is_named_and_nothing_is_imported(csv_file):
    text = 'GOOD,Good,1,1\na b,Spaces,1,1\nTEA,,-5,ten\n"MANY\nLINES",Broken,1,1\nGOOD,Again,1,1\nCUP,Cup,1\n'
    lines = refusal(csv_file(f"sku,name,price,quantity\n{text}BIG,Big,{10**13},{10**10}\n"))
    assert lines[0] == "Nothing was imported; put these right first."
    named = "3: sku, 4: name, 4: price, 4: quantity, 6: sku, 7: sku, 8, 9: price, 9: quantity"
    assert [line.rsplit(": ", 1)[0] for line in lines[1:]] == [f"line {one}" for one in named.split(", ")]
    assert "line 7: sku: GOOD is on line 2 already" in lines


def test_an_unknown_sku_needs_a_name_and_a_price():
    detail = "sku: TEA: there is no such product; a new one needs a name and a price"
    assert refusal("--sku", "TEA", "--quantity", "4")[1] == detail
    assert refusal("--sku", "TEA", "--quantity", "4", "--name", "Tea")[1] == detail
    seed("--sku", "TEA", "--quantity", "4", "--name", "Tea", "--price", "9")
    assert products() == [("TEA", "Tea", 9, 4)]


def test_an_import_of_500_lines_costs_a_few_statements(django_assert_max_num_queries):
    rows = [StockRow(line=n, sku=f"S{n}", name=f"Product {n}", price=n, quantity=1) for n in range(500)]
    # Two of them write the events of the feed, a thousand each.
    with django_assert_max_num_queries(20):
        deliver(rows)
    renamed = [row.model_copy(update={"name": "Other", "low_stock_threshold": 3}) for row in rows]
    with django_assert_max_num_queries(20):
        deliver(renamed)
    assert set(Product.objects.values_list("version", flat=True)) == {3}


def test_imports_of_the_same_products_in_opposite_order_all_arrive(transactional_db):
    rows = [StockRow(line=n, sku=f"S{n}", name="Product", price=n, quantity=1) for n in range(40)]
    deliver(rows)
    forth, back = rows, list(reversed(rows))
    outcomes = race_each(deliver, [forth, back] * 6)
    assert outcomes == [Imported(created=0, changed=0, received=40)] * 12
    assert set(Product.objects.values_list("on_hand", flat=True)) == {13}
    assert all(one.holds for one in audit.audit())


def test_a_file_in_cp949_is_read_and_what_looks_wrong_in_it_is_said(csv_file):
    data = "sku,name,price,quantity\n8.80123E+12,머그,12000,10\nE+1,Cup,1,1\n".encode("cp949")
    assert "Products created: 2," in seed(csv_file(data))
    assert products() == [("8.80123E+12", "머그", 12000, 10), ("E+1", "Cup", 1, 1)]
    said = StringIO()
    call_command("seed_stock", csv_file(data), "--dry-run", stdout=StringIO(), stderr=said)
    for said_of_it in ("read as CP949", "8.80123E+12 (line 2)", "imported before"):
        assert said_of_it in said.getvalue()
    assert "E+1 " not in said.getvalue()
