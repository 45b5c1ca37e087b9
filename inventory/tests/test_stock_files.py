"""Stock files as people's programs write them: what is read, what is read with a warning, what is refused."""

from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

from foundation.errors import Invalid
from inventory.admin.products import SAMPLE
from inventory.imports import stock_files

HEADER = "sku,name,price,quantity\n"


def read(text: str) -> tuple[list[tuple[str, str, int, int]], str]:
    rows, warnings = stock_files.read_file(text.encode())
    return [(row.sku, row.name, row.price, row.quantity) for row in rows], " ".join(warnings)


def refused(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(Invalid) as error:
        stock_files.read_file(text.encode())
    return [(one["line"], one["field"], one["code"]) for one in error.value.extra["errors"]]


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1,234,567", 1_234_567),
        ("₩ 9,500", 9_500),
        ("￦700", 700),
        ("KRW 15000", 15_000),
        ("3,300원", 3_300),
        ("42 개", 42),
        (" 0 ", 0),
    ],
)
def test_numbers_as_spreadsheets_and_people_write_them_are_read(written, number):
    assert read(f'{HEADER}LAMP,Lamp,"{written}","{written}"\n') == ([("LAMP", "Lamp", number, number)], "")


@pytest.mark.parametrize("written", ["3.300", "1.234.567"])
def test_a_number_that_may_be_thousands_or_a_fraction_is_refused_as_such(written):
    codes = [(2, "price", "ambiguous_number"), (2, "quantity", "ambiguous_number")]
    assert refused(f"{HEADER}LAMP,Lamp,{written},{written}\n") == codes


@pytest.mark.parametrize(
    "written", ["1,23", "12,34,567", "-1,000", "1,000.50", "₩", "원", "1e3", "9,500엔", "٣,٠٠٠"]
)
def test_what_is_no_whole_number_is_refused_all_the_same(written):
    assert refused(f'{HEADER}LAMP,Lamp,1,"{written}"\n') == [(2, "quantity", "not_a_number")]


@pytest.mark.parametrize(
    "titles",
    [
        "품번,품명,단가,입고수량",
        "상품 코드,상품명,판매 가격,수량",
        " SKU , Name ,가격,수량",
        "sku,이름,price,수량",
    ],
)
def test_korean_titles_of_columns_are_read(titles):
    assert read(f"{titles}\nLAMP,전등,900,4\n") == ([("LAMP", "전등", 900, 4)], "")


def test_columns_of_other_names_are_left_out_and_named():
    text = "No.,sku,name,비고,price,quantity,Low stock threshold\n1,LAMP,Lamp,창고 2,900,4,3\n"
    rows, said = read(text)
    assert rows == [("LAMP", "Lamp", 900, 4)]
    assert "These columns were ignored: No., 비고." in said
    [row], _ = stock_files.read_file(text.encode())
    assert row.low_stock_threshold == 3


def test_a_column_without_a_title_is_named_by_its_place():
    rows, said = read(",sku,name,price,quantity\n0,LAMP,Lamp,900,4\n")
    assert rows == [("LAMP", "Lamp", 900, 4)]
    assert "These columns were ignored: #1." in said


def test_a_count_of_skus_and_quantities_alone_keeps_names_and_prices():
    [row], said = stock_files.read_file(b"sku,quantity\nLAMP,4\n")
    assert (row.terms, row.quantity, said) == ({}, 4, [])


@pytest.mark.parametrize(
    "titles", ["sku,품번,name,price,quantity", "sku,name,price", "quantity", "sku,name,price,quantity,수량"]
)
def test_a_column_that_is_missing_or_there_twice_is_refused(titles):
    cells = ",".join("1" for _ in titles.split(","))
    assert refused(f"{titles}\n{cells}\n") == [(1, "", "wrong_header")]


@pytest.mark.parametrize("line", ["sep=,\r\n", '"sep=,"\n', "SEP=\t\n"])
def test_the_line_by_which_excel_names_the_separator_is_read_and_counted(line):
    tabbed = "\t" in line
    text = f"{HEADER}LAMP,Lamp,900,4\nBAD SKU,Lamp,1,1\n"
    text = text.replace(",", "\t") if tabbed else text
    assert refused(line + text) == [(4, "sku", "string_pattern_mismatch")]
    assert read(line + text.rsplit("BAD", 1)[0])[0] == [("LAMP", "Lamp", 900, 4)]


def test_semicolons_are_still_refused_by_their_name():
    assert refused("sep=;\n" + (HEADER + "LAMP,Lamp,1,1\n").replace(",", ";")) == [(1, "", "wrong_separator")]


@pytest.mark.parametrize(
    ("sku", "name"),
    [
        *[
            (sku, "Cup")
            for sku in ("#VALUE!", "#DIV/0!", "FALSE", "None", "12-Jan", "Dec-07", "2026/3/1", "3-4-26")
        ],
        *[("CUP", name) for name in ("#NAME?", "NULL", "n/a", "#N/A")],
    ],
)
def test_what_a_spreadsheet_has_made_of_something_else_is_named(sku, name):
    rows, said = read(f"{HEADER}{sku},{name},1,1\nPOT-12,May,1,1\n")
    assert len(rows) == 2
    odd = sku if sku != "CUP" else name
    assert said == f"A spreadsheet seems to have changed these cells: {odd} (line 2). Check them."


def test_a_few_of_many_such_cells_are_named():
    lines = "".join(f"{day}-Nov,Cup,1,1\n" for day in range(1, 20))
    assert read(HEADER + lines)[1].endswith("9-Nov (line 10), 10-Nov (line 11), …. Check them.")


def test_the_sample_file_is_read_without_a_warning():
    rows, warnings = stock_files.read_file(Path(str(finders.find(SAMPLE))).read_bytes())
    assert len(rows) == 2 and warnings == []
    assert {row.low_stock_threshold for row in rows} == {5, None}
