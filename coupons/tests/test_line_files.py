"""Files of pool codes: what is a code, and what is named as a bad line."""

from io import BytesIO

import pytest

from coupons.codes import line_files
from shop.errors import Invalid
from shop.tests.case_tables import in_one_test


def codes_of(data: bytes) -> list[str]:
    [piece] = line_files.pieces(BytesIO(data), kind=line_files.CODES)
    assert piece.errors == []
    return piece.texts


def errors_of(data: bytes) -> list[tuple[int, str]]:
    pieces = line_files.pieces(BytesIO(data), kind=line_files.CODES)
    return [(bad.line, bad.code) for piece in pieces for bad in piece.errors]


@in_one_test(
    "data",
    [
        b"A1\nB2\n",
        b"A1\nB2",
        b"code\nA1\nB2\n",
        b"Code\r\nA1\r\nB2\r\n",
        b'"code"\r\n"A1"\r\n"B2"\r\n',
        b"\xef\xbb\xbfcode\nA1\n\n  B2 \n\n",
        b"\xef\xbb\xbfA1\nB2\n",
        "code\r\nA1\r\nB2\r\n".encode("utf-16"),
    ],
)
def test_a_code_in_each_line_however_a_spreadsheet_writes_it(data: bytes) -> None:
    assert codes_of(data) == ["A1", "B2"]


def test_lines_are_numbered_on_in_later_pieces_where_a_header_is_a_code() -> None:
    piece = line_files.read(b"code\nA1\n", first_line=4_001, kind=line_files.CODES)
    assert piece.lines == [(4_001, "code"), (4_002, "A1")]


@in_one_test(
    ("data", "expected"),
    [
        (b"code,status\nA1,new\n", [(1, "wrong_number_of_cells"), (2, "wrong_number_of_cells")]),
        (b"A1;B2\n", [(1, "not_a_code")]),
        (b"A1\n" + b"x" * 10_000_000 + b"\nB2\n", [(2, "too_long")]),
        (b"A" * 65, [(1, "not_a_code")]),
        (b"A1\nB\x002\n", [(2, "nul")]),
        ("A1\n쿠폰\n".encode(), [(2, "not_ascii")]),
        ("A1\n쿠폰\n".encode("euc-kr"), [(2, "not_ascii")]),
        ("code\nA1\n".encode("utf-16-be"), [(1, "nul"), (2, "nul")]),
        (b"A1\rB2\r", [(1, "line_end")]),
        (b'"A1\nB2"\n', [(1, "quotes"), (2, "not_a_code")]),
        (
            b"=1+1\n+A\n-A\n@A\n\tA\n'A\n",
            [(1, "not_a_code"), (2, "not_a_code"), (3, "not_a_code"), (4, "not_a_code"), (6, "not_a_code")],
        ),
        (b"a/b\na b\n", [(1, "not_a_code"), (2, "not_a_code")]),
    ],
)
def test_each_bad_line_is_named(data: bytes, expected: list[tuple[int, str]]) -> None:
    assert errors_of(data) == expected


def test_a_spreadsheets_own_file_is_refused() -> None:
    with pytest.raises(Invalid):
        errors_of(b"PK\x03\x04\x14\x00code\nA1\n")
