"""Admin pages of products: their terms, movements of stock, and imports: upload, preview, confirmation."""

import os
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from foundation.admin_base import uploads
from foundation.db.transactions import DatabaseUnavailable
from foundation.models import JournalLine
from foundation.tasks import sweep
from foundation.tests.confirming import confirmed, shown, to_confirm
from foundation.tests.factories import SuperuserFactory, staff_member
from foundation.tests.racing import race
from foundation.tests.sent_forms import fields_of
from inventory import adjustments, audit, products
from inventory.imports import importing, stock_files
from inventory.models import Delivery, Product, StockMovement
from inventory.tests.factories import ProductFactory, StockMovementFactory, levels_of

pytestmark = pytest.mark.django_db
IMPORT = "/admin/inventory/product/import/"
HEADER = "sku,name,price,quantity\n"
WHY = "The van of Tuesday."


def upload(client: Client, text: str | bytes, *, reason: str = WHY, quantities="added", **headers: str):
    data = text.encode() if isinstance(text, str) else text
    form = {"file": SimpleUploadedFile("delivery.csv", data), "form_id": str(uuid7()), "reason": reason}
    return client.post(IMPORT, form | {"quantities": quantities}, headers=headers)


def confirm(client: Client, preview, **changed: str):
    """Press the button of the preview, and follow to the page with the result."""
    return client.post(IMPORT, dict(preview.context["hidden"]) | {"confirmed": "yes"} | changed, follow=True)


def kept(preview) -> list[Path]:
    """The file of the upload while it waits for its confirmation."""
    return deliveries(f"*.{dict(preview.context['hidden'])['form_id']}")


def deliveries(of="*") -> list[Path]:
    return sorted(Path(tempfile.gettempdir()).glob(f"{uploads.PREFIX}{of}"))


def rows_of(preview) -> list[list[str]]:
    return [row[1:] for row in preview.context["preview"].table["rows"]]


def has_question(page) -> bool:
    return "preview" in page.context


def text_of(response) -> str:
    return re.sub(r"\s+", " ", response.text)


def test_a_file_is_shown_line_by_line_and_nothing_is_written_before_it_is_confirmed(operator):
    ProductFactory(sku="CUP", name="Old cup", price=1, on_hand=5)
    ProductFactory(sku="POT", name="Pot", price=7)
    before = list(Product.objects.values())
    preview = upload(operator, f'{HEADER}TEA,"Green tea, 녹차",4500,10\nCUP,Cup,900,2\nPOT,Pot,7,0\n')
    assert rows_of(preview) == [
        ["TEA", "Green tea, 녹차", "4,500", "-", "10", "0 → 10", "new"],
        ["CUP", "Old cup → Cup", "1 → 900", "-", "2", "5 → 7", ""],
        ["POT", "Pot", "7", "-", "0", "0", ""],
    ]
    assert "Old cup → Cup" in text_of(preview)
    assert list(Product.objects.values()) == before
    assert not JournalLine.objects.exists()

    assert "Products created: 1, changed: 1. Units received: 12." in text_of(confirm(operator, preview))
    found = Product.objects.order_by("sku").values_list("sku", "name", "price", "on_hand")
    assert list(found) == [("CUP", "Cup", 900, 7), ("POT", "Pot", 7, 0), ("TEA", "Green tea, 녹차", 4500, 10)]
    movement = StockMovement.objects.latest("id")
    assert (movement.kind, movement.reason) == ("received", WHY)
    lines = JournalLine.objects.filter(what="stock.received")
    assert {(line.actor, line.actor_name) for line in lines} == {("staff", "ada")}
    assert len(lines) == 2
    assert all(one.holds for one in audit.audit())


def test_counted_quantities_are_what_is_on_hand_afterwards_however_often_they_are_imported(operator):
    """1,200 on the shelf were added to the 1,000 that the shop knew of."""
    cup = ProductFactory(sku="CUP", name="Cup", price=900, on_hand=1_000, reserved=10)
    file = '상품코드,상품명,가격,수량\nCUP,Cup,900,"1,200"\nTEA,녹차,4500,7\n'

    for stock in (["1,000 → 1,200", "0 → 7"], ["1,200", "7"]):
        preview = upload(operator, file, quantities="counted")
        assert [row[5] for row in rows_of(preview)] == stock
        confirm(operator, preview)

    cup.refresh_from_db()
    assert (levels_of(cup), Product.objects.get(sku="TEA").on_hand) == ((1_200, 10), 7)
    movements = cup.movements.order_by("id").values_list("kind", "delta", "on_hand_after")
    assert list(movements)[1:] == [("adjusted", 200, 1_200)]
    assert all(one.holds for one in audit.audit())


def test_a_count_below_what_open_orders_reserve_is_refused(operator):
    cup = ProductFactory(sku="CUP", name="Cup", price=900, on_hand=20, reserved=10)
    refused = upload(operator, f"{HEADER}CUP,Cup,900,9\n", quantities="counted")
    assert not has_question(refused) and "Not enough in stock" in text_of(refused)
    assert levels_of(cup) == (20, 10)


def test_every_bad_line_is_named_and_there_is_nothing_to_confirm(operator):
    preview = upload(operator, f"{HEADER}GOOD,Good,1,1\na b,Spaces,-1,1\n\nGOOD,Again,1,1\nCUP,Cup,1\n")
    assert not has_question(preview)
    named = [one.split(":")[:2] for one in preview.context["form"].non_field_errors()][1:]
    assert named == [["Line 3", " sku"], ["Line 3", " price"], ["Line 5", " sku"], ["Line 6", " file"]]
    assert "GOOD is on line 2 already" in text_of(preview)
    assert "must be printable ASCII without spaces" in text_of(preview)
    assert not Product.objects.exists()
    assert not deliveries(), "nothing is kept of a file of which nothing can be confirmed"


def test_a_long_file_shows_its_first_rows_and_totals_and_is_imported_whole(operator):
    """Its page had a row for every line, 158 MiB for a file of 0.5 MiB."""
    ProductFactory(sku="S4999", name="Old", price=1)
    ProductFactory(sku="S4998", name="P", price=1)
    lines = "".join(f"S{number},P,1,{0 if number == 4_998 else 2}\n" for number in range(5_000))
    preview = upload(operator, HEADER + lines)
    assert [row[0] for row in rows_of(preview)] == [f"S{number}" for number in range(200)]
    assert (
        "Import 5,000 rows? New products: 4,998. Changed products: 1. Units added to the stock: 9,998."
        in text_of(preview)
    )
    assert "The first 200 rows are shown. Another 4,800 are imported with them." in text_of(preview)
    assert len(preview.content) < 2 * 2**20

    assert "Products created: 4,998, changed: 1. Units received: 9,998." in text_of(
        confirm(operator, preview)
    )
    assert Product.objects.count() == 5_000


def test_a_file_of_too_many_lines_is_refused_before_they_are_read(operator, monkeypatch):
    most = HEADER + "".join(f"S{number},P,1,1\n" for number in range(20_000))
    assert has_question(upload(operator, most))
    monkeypatch.setattr(stock_files, "read", None)
    refused = upload(operator, f"{most}MORE,P,1,1\n")
    assert not has_question(refused)
    assert "more than 20000 lines below its first" in text_of(refused)
    assert "seed_stock, which has no such limit" in text_of(refused)


def test_a_delivery_whose_confirmation_was_interrupted_continues_when_confirmed_again(operator, monkeypatch):
    """The page said that the file was gone: staff uploaded it again, and it was received twice."""
    monkeypatch.setattr(importing, "ROWS_AT_ONCE", 1)
    preview = upload(operator, f"{HEADER}CUP,Cup,1,3\nTEA,Tea,1,3\n")
    chunks = iter([importing._receive_next_chunk])

    def once_and_then_away(*arguments):
        if work := next(chunks, None):
            return work(*arguments)
        raise DatabaseUnavailable("The database can't be reached; ask again.")

    with monkeypatch.context() as interrupted:
        interrupted.setattr(importing, "_receive_next_chunk", once_and_then_away)
        away = confirm(operator, preview)
    assert "Press the button again to go on." in text_of(away)
    # The form that came back with the refusal.
    form = away.context["form"]
    sent = {name: form[name].value() or "" for name in form.fields if name != "file"}
    assert "Units received: 6" in text_of(confirm(operator, operator.post(IMPORT, sent)))
    assert set(Product.objects.values_list("on_hand", flat=True)) == {3}


def test_an_unfinished_delivery_whose_file_is_elsewhere_must_not_be_uploaded_again(operator):
    preview = upload(operator, f"{HEADER}TEA,Tea,1,3\n")
    kept(preview)[0].unlink()
    Delivery.objects.create(id=dict(preview.context["hidden"])["form_id"], rows_total=2, rows_done=1)
    page = text_of(confirm(operator, preview))
    assert "1 of 2 rows are imported" in page
    assert "Upload it again" not in page


def test_only_files_that_were_uploaded_here_can_be_confirmed(operator):
    preview = upload(operator, f"{HEADER}TEA,Tea,1,3\n")
    with NamedTemporaryFile() as foreign_file:
        foreign_file.write(f"{HEADER}CUP,Cup,1,1\n".encode())
        foreign_file.flush()
        answer = confirm(operator, preview, form_id=foreign_file.name, file=foreign_file.name)
        assert answer.context["form"].errors.keys() == {"form_id"}
        assert "Upload it again" in text_of(confirm(operator, preview, form_id=str(uuid7())))
        assert Path(foreign_file.name).exists()
    assert not Product.objects.exists()


def test_importing_needs_the_permissions_of_all_that_it_does():
    names = ["view_product", "add_product", "change_product", "add_stockmovement"]
    for missing in names[1:]:
        kept = [f"inventory.{name}" for name in names if name != missing]
        client = signed_in(staff_member(*kept))
        assert client.get(IMPORT).status_code == 403
        assert client.post(IMPORT, {"confirmed": "yes"}).status_code == 403
        assert IMPORT not in client.get("/admin/inventory/product/").text


def age(path: Path, seconds: float):
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("clear", [lambda operator: sweep(), lambda operator: upload(operator, HEADER)])
def test_an_upload_never_confirmed_is_cleared_after_an_hour_and_no_sooner(operator, clear):
    """By the sweep, and by the next upload: the sweep of another container doesn't see this folder."""
    for _ in range(3):
        upload(operator, f"{HEADER}TEA,Green tea,4500,10\n")
    old, taken, young = deliveries()
    age(old, 3_601)
    age(young, 3_500)
    taken = taken.rename(f"{taken}.taken")
    age(taken, 3_601)
    other = Path(tempfile.gettempdir()) / "of-another-program"
    other.touch()
    age(other, 10_000)

    clear(operator)

    assert (old.exists(), taken.exists(), young.exists(), other.exists()) == (False, False, True, True)


def test_the_unconfirmed_uploads_of_an_operator_take_so_much_and_no_more(operator, monkeypatch):
    text = f"{HEADER}TEA,Green tea,4500,10\n"
    monkeypatch.setattr(uploads, "MOST_BYTES_OF_ACCOUNT", 2 * len(text))
    [of_another] = kept(upload(signed_in(SuperuserFactory(username="grace")), text))

    previews = [upload(operator, text) for _ in range(3)]

    assert [len(kept(preview)) for preview in previews] == [0, 1, 1]
    assert of_another.exists()
    assert "Upload it again" in text_of(confirm(operator, previews[0]))
    confirm(operator, previews[1])
    assert Product.objects.get().on_hand == 10
    assert deliveries() == sorted([of_another, *kept(previews[2])]), "a confirmed one is gone at once"


KOREAN = f"{HEADER}MUG,한정판 머그,12000,10\nSET,똠방각하 세트,25000,5\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (KOREAN.replace("\n", "\r\n").encode("cp949"), "CP949"),
        (KOREAN.replace(",", "\t").encode("utf-16"), "UTF-16"),
        (KOREAN.encode("utf-16"), "UTF-16"),
        (KOREAN.encode("utf-8-sig"), ""),
    ],
    ids=["CP949", "UTF-16 with tabs", "UTF-16", "UTF-8"],
)
def test_a_file_of_a_korean_spreadsheet_is_read_and_the_preview_says_in_which_encoding(
    operator, data, encoding
):
    preview = upload(operator, data)
    assert [row[1] for row in rows_of(preview)] == ["한정판 머그", "똠방각하 세트"]
    warning = str(preview.context["preview"].warning)
    assert (encoding in warning) and bool(warning) == bool(encoding)
    confirm(operator, preview)
    assert set(Product.objects.values_list("name", "on_hand")) == {("한정판 머그", 10), ("똠방각하 세트", 5)}


@pytest.mark.parametrize(
    ("data", "words", "korean"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00" + bytes(range(256)), "own file, such as .xlsx", ".xlsx 같은"),
        (b"\xd0\xcf\x11\xe0" + bytes(range(256)), "own file, such as .xlsx", ".xlsx 같은"),
        (b"sku,name\n\xff\xff\xff\xff\n", "neither UTF-8 nor UTF-16 nor CP949", "UTF-8, UTF-16, CP949"),
        (HEADER.replace(",", ";").encode() + b"CUP;Cup;1;1\n", "separated by semicolons", "세미콜론"),
        (HEADER.encode(), "nothing to import", "가져올 것이 없습니다"),
    ],
)
def test_a_file_that_is_no_csv_is_refused_in_words(operator, data, words, korean):
    for language, expected in (("en", words), ("ko", korean)):
        refused = upload(operator, data, **{"accept-language": language})
        assert refused.status_code == 200 and not has_question(refused)
        assert expected in text_of(refused) and "Error" not in text_of(refused)


def page_of(product: Product) -> str:
    return f"/admin/inventory/product/{product.pk}"


def move(client: Client, product: Product, **fields):
    values = {"kind": "adjusted", "delta": 1, "reason": "count"} | fields
    return confirmed(client, f"{page_of(product)}/move_stock/", **values)


def test_a_product_is_added_with_nothing_in_stock(operator):
    form = {"sku": "TEA-1", "name": "Tea", "price": 900, "is_active": "on", "on_hand": 50}
    assert operator.post("/admin/inventory/product/add/", form).status_code == 302
    product = Product.objects.get()
    assert (product.sku, product.price, product.on_hand, product.is_active) == ("TEA-1", 900, 0, True)


def test_a_products_page_that_was_opened_before_another_operator_changed_it_reverts_nothing(operator):
    product = ProductFactory(sku="TEA-1", name="Tea", price=900, is_active=True)
    page = f"{page_of(product)}/change/"
    opened = operator.get(page).text
    products.change(product_id=product.pk, price=1_200, is_active=False)

    assert operator.post(page, fields_of(opened, name="Best tea", reason="A new name.")).status_code == 302
    product.refresh_from_db()
    assert (product.name, product.price, product.is_active) == ("Best tea", 1_200, False)

    both = operator.post(page, fields_of(opened, price="1000", reason="A sale."))
    assert "This was changed since the page was opened. Open the page again." in both.text
    product.refresh_from_db()
    assert product.price == 1_200


def test_stock_is_moved_by_a_movement_of_the_kind_that_was_chosen(operator):
    product = ProductFactory(on_hand=5)
    received = move(operator, product, kind="received", delta=10, reason="delivery 7")
    adjusted = move(operator, product, delta=-2, reason="broken")
    assert received["Location"] == adjusted["Location"] == f"/admin/products/{product.pk}/"
    moved = StockMovement.objects.order_by("id").values_list("kind", "delta", "on_hand_after", "reason")
    assert list(moved)[1:] == [("received", 10, 15, "delivery 7"), ("adjusted", -2, 13, "broken")]
    line = JournalLine.objects.filter(subject=f"product {product.pk}").latest("id")
    assert (line.actor, line.detail) == ("staff", "broken")


def test_what_was_counted_becomes_what_is_on_hand_less_what_is_sold_meanwhile(operator):
    product = ProductFactory(on_hand=15)
    address = f"{page_of(product)}/move_stock/"
    preview = shown(operator, address, kind="counted", delta=13, reason="13 on the shelf")
    assert dict(preview.context["preview"].facts)["On hand"] == "15 → 13"
    StockMovementFactory(product=product, kind="sold", delta=-5, on_hand_after=10)
    Product.objects.update(on_hand=10)

    operator.post(address, dict(preview.context["hidden"]) | {"confirmed": "yes"})

    assert levels_of(product) == (8, 0)
    assert StockMovement.objects.latest("id").kind == "adjusted"


def test_an_impossible_move_shows_an_error_and_changes_nothing(operator):
    product = ProductFactory(on_hand=5)
    for fields in ({"delta": -6}, {"delta": 0}, {"kind": "received", "delta": -1}):
        page = move(operator, product, **fields).text
        assert "(5 available)" in page or "changes nothing" in page or "at least 1" in page
    assert move(operator, product, reason="").status_code == 200
    assert (levels_of(product), StockMovement.objects.count()) == ((5, 0), 1)


@pytest.mark.parametrize(
    ("kind", "delta", "words"),
    [
        ("received", -1_200, "at least 1"),
        ("received", 0, "at least 1"),
        ("adjusted", 0, "changes nothing"),
        ("adjusted", -18, "(17 available)"),
        ("adjusted", -1_200, "(17 available)"),
    ],
)
def test_a_move_that_is_impossible_reaches_no_confirmation_and_the_form_shows_what_there_is(
    operator, kind, delta, words
):
    """A minus before received goods was confirmed as "20 → -1,180"."""
    product = ProductFactory(on_hand=20, reserved=3)
    address = f"/admin/inventory/product/{product.pk}/move_stock/"
    form = operator.get(address).text
    assert "On hand: 20, of which open orders reserve 3." in form
    page = operator.post(address, fields_of(form, kind=kind, delta=str(delta), reason="counted"))
    assert words in page.text
    assert "preview" not in page.context
    assert levels_of(product) == (20, 3)


def test_a_threshold_and_a_limit_per_account_are_set_and_removed_on_the_page(operator):
    product = ProductFactory(sku="TEA-1", name="Tea", price=900)
    for name, values in (
        ("low_stock_threshold", (("5", 5), ("0", 0), ("-1", 0), ("", None))),
        ("limit_per_account", (("5", 5), ("0", 5), ("", None))),
    ):
        for given, kept in values:
            opened = operator.get(f"{page_of(product)}/change/").text
            form = fields_of(opened, **{name: given}, reason="It sells fast.")
            operator.post(f"{page_of(product)}/change/", form)
            product.refresh_from_db()
            assert getattr(product, name) == kept


def test_movements_are_not_added(operator):
    assert operator.post("/admin/inventory/stockmovement/add/", {}).status_code == 403


def test_a_count_that_another_operator_has_corrected_meanwhile_is_not_corrected_again(operator):
    product = ProductFactory(on_hand=15)
    address = f"{page_of(product)}/move_stock/"
    first = to_confirm(operator, address, kind="adjusted", delta=-2, reason="counted 13")
    second = to_confirm(operator, address, kind="adjusted", delta=-2, reason="13 on the shelf")
    operator.post(address, first)
    refused = operator.post(address, second)
    assert "was moved meanwhile: -2, &#x27;counted 13&#x27;; 13 on hand now" in refused.text
    assert levels_of(product) == (13, 0)
    # Seen and confirmed again, it is done.
    seen = {name: second[name] for name in ("form_id", "kind", "delta", "reason")}
    again = shown(operator, address, **seen)
    assert dict(again.context["preview"].facts)["On hand"] == "13 → 11"
    operator.post(address, dict(again.context["hidden"]) | {"confirmed": "yes"})
    assert levels_of(product) == (11, 0)


def test_sales_meanwhile_don_t_refuse_a_correction(operator):
    product = ProductFactory(on_hand=15)
    address = f"{page_of(product)}/move_stock/"
    sent = to_confirm(operator, address, kind="adjusted", delta=-2, reason="count")
    StockMovementFactory(product=product, kind="sold", delta=-5, on_hand_after=10)
    Product.objects.update(on_hand=10)
    operator.post(address, sent)
    assert levels_of(product) == (8, 0)


@pytest.mark.django_db(transaction=True)
def test_of_two_operators_who_correct_the_same_count_at_once_one_does(operator):
    product = ProductFactory(on_hand=15)
    address = f"{page_of(product)}/move_stock/"
    clients = [signed_in(SuperuserFactory()) for _ in range(4)]
    sent = [to_confirm(client, address, kind="adjusted", delta=-2, reason="count") for client in clients]

    both = zip(clients, sent, strict=True)
    responses = race([partial(client.post, address, form) for client, form in both])

    assert sorted(response.status_code for response in responses) == [200, 200, 200, 302]
    assert (levels_of(product), StockMovement.objects.count()) == ((13, 0), 2)


@pytest.mark.django_db(transaction=True)
def test_without_the_comparison_under_the_lock_all_of_them_do(operator):
    """The control case: each delta alone is exact, and the count is corrected four times."""
    product = ProductFactory(on_hand=15)
    race([partial(adjustments.adjust, product_id=product.pk, delta=-2, reason="count")] * 4)
    assert levels_of(product) == (7, 0)


@pytest.mark.django_db(transaction=True)
def test_a_form_that_is_sent_four_times_at_once_moves_stock_once(operator):
    product = ProductFactory(on_hand=5)
    address = f"{page_of(product)}/move_stock/"
    sent = to_confirm(operator, address, kind="received", delta=100, reason="delivery 7")

    responses = race([partial(operator.post, address, sent)] * 4)

    assert [response.status_code for response in responses] == [302] * 4
    assert (levels_of(product), StockMovement.objects.count()) == ((105, 0), 2)
