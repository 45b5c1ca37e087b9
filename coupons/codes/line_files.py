"""Files of pool codes or of accounts, one in each line: read in pieces, so that any size takes little memory.

The first line may be a header, in English or Korean. Of several columns, separated by commas or tabs,
one is read: that of the header, or the only one whose cells look right, or the one that is asked for.
A line may end with CR and LF, and its cells may be quoted, as spreadsheets write it.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from django.utils.translation import gettext, gettext_lazy

from coupons.codes import code_format
from foundation import uploaded_text
from foundation.errors import Invalid

MOST_BYTES_OF_LINE = 1_000
LINES_AT_ONCE = 4_000
LINES_LOOKED_AT = 100
"""To find the column."""
SHOWN_CHARACTERS = 40
TITLE = re.compile(r"(?=.{1,40}$)[^\W\d]+( [^\W\d]+)*")
UNLIKE_LINES = uploaded_text.UTF_16_MARKS + uploaded_text.SPREADSHEET_MARKS
"""How files begin that are not lines of bytes: of other encodings a code or an account has ASCII alone."""


class FileLine(NamedTuple):
    """A line with its cell: a code, or the digits of an account's id."""

    number: int
    text: str


class BadLine(NamedTuple):
    """A line that is not what the file should have, and why."""

    line: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Piece:
    """The whole lines of a part of a file, and its bad lines. Empty lines and the header are neither."""

    lines: list[FileLine] = field(default_factory=list)
    errors: list[BadLine] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    @property
    def account_ids(self) -> list[int]:
        return [int(line.text) for line in self.lines]


class Kind(NamedTuple):
    """What a file has in its lines: its header and other names of it, the pattern of a cell, that of cells by
    which a column is found, and what is wrong with others.
    """

    header: str
    titles: str
    pattern: str
    likely: str
    error: str
    detail: Any


class Layout(NamedTuple):
    """What separates the cells of a file, its first rows, and the column that is read: None if unknown."""

    delimiter: str
    rows: list[list[str]]
    column: int | None


def find_layout(file: BinaryIO, kind: Kind) -> Layout:
    """Look at the first lines of the file. Raises `Invalid` for one that is no text."""
    lines = [_decoded(line.rstrip(b"\r\n"), "utf-8-sig") for line in islice(_text(file), LINES_LOOKED_AT)]
    lines = [line for line in lines if line.strip()] or [""]
    delimiter = "\t" if "\t" in lines[0].strip() and "," not in lines[0] else ","
    rows = [_cells(line, delimiter) for line in lines]
    columns = [at for at, cell in enumerate(rows[0]) if _is_named(cell, kind)] or [*range(len(rows[0]))]
    if len(columns) > 1:
        below = rows[1:] or rows
        columns = [
            at for at in columns if all(at < len(row) and re.fullmatch(kind.likely, row[at]) for row in below)
        ]
    return Layout(delimiter, rows, columns[0] if len(columns) == 1 else None)


def pieces(file: BinaryIO, *, kind: Kind, column: int | None = None) -> Iterator[Piece]:
    """Read a file of any size, some whole lines at a time; of `column`, or the one that is found. Raises
    `Invalid` for one that is no text, and one whose column is unknown.
    """
    # Of another encoding it is decoded once.
    file = _text(file)
    layout = find_layout(file, kind)
    layout = layout if column is None else layout._replace(column=column)
    if layout.column is None:
        raise Invalid(gettext("It is not clear in which column they are. Keep only that one."), errors=[])
    numbered = enumerate(_text(file), start=1)
    while lines := list(islice(numbered, LINES_AT_ONCE)):
        piece = Piece()
        for number, line in lines:
            text, wrong = _cell(line.rstrip(b"\r\n"), number == 1, kind, layout)
            if wrong:
                piece.errors.append(BadLine(number, *wrong))
            elif text:
                piece.lines.append(FileLine(number, text))
        yield piece


def _text(file: BinaryIO) -> BinaryIO:
    """The file from its beginning, as lines of bytes."""
    file.seek(0)
    if file.read(4).startswith(UNLIKE_LINES):
        file.seek(0)
        return BytesIO(uploaded_text.decode(file.read()).text.encode())
    file.seek(0)
    return file


def _is_named(title: str, kind: Kind) -> bool:
    return re.sub(r"[\s_-]", "", title.lower()) in kind.titles.split()


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of the line, without empty ones at its end."""
    try:
        [row] = csv.reader([line], strict=True, delimiter=delimiter)
    except csv.Error:
        row = [line]
    cells = [cell.strip(" \t") for cell in row] or [""]
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def _cell(line: bytes, is_first: bool, kind: Kind, layout: Layout) -> tuple[str, tuple[str, str] | None]:
    """The cell of a line, empty for the header and an empty line, and a code and text of what is wrong."""
    if len(line) > MOST_BYTES_OF_LINE:
        detail = gettext("has %(bytes)s bytes; a code has 64 characters at most") % {"bytes": len(line)}
        return "", ("too_long", detail)
    cells = _cells(_decoded(line, "utf-8-sig" if is_first else "utf-8"), layout.delimiter)
    column = layout.column or 0
    width = len(layout.rows[0])
    if any(cells) and (len(cells) <= column or (width == 1 and len(cells) > 1)):
        counts = {"count": len(cells), "expected": width}
        return "", ("wrong_number_of_cells", gettext("has %(count)s cells instead of %(expected)s") % counts)
    text = cells[min(column, len(cells) - 1)]
    is_right = re.fullmatch(kind.pattern, text)
    is_title = is_first and (_is_named(text, kind) or (not is_right and TITLE.fullmatch(text)))
    if is_title or not any(cells):
        return "", None
    if not text:
        return "", (kind.error, gettext("is empty"))
    if not is_right:
        shown = "".join(char if char.isprintable() else "�" for char in text[:SHOWN_CHARACTERS])
        more = "…" if len(text) > SHOWN_CHARACTERS else ""
        return "", (kind.error, kind.detail % {"text": shown + more})
    return text, None


def _decoded(line: bytes, encoding: str) -> str:
    """The line in this encoding, or in CP949, in which a header may be, or as much of it as can be read."""
    for each in (encoding, "cp949"):
        with suppress(UnicodeDecodeError):
            return line.decode(each)
    return line.decode(encoding, errors="replace")


CODES = Kind(
    "code",
    "code codes coupon couponcode couponno couponnumber serial serialnumber pin 코드 코드번호 쿠폰 쿠폰코드 "
    "쿠폰번호 할인코드 시리얼 시리얼번호 일련번호 핀번호 번호 난수",
    code_format.GIVEN_PATTERN,
    rf"(?=.{{5}})(?=.*\d)(?!\d{{4}}[-.]\d\d?[-.]\d\d?){code_format.GIVEN_PATTERN}",
    "not_a_code",
    gettext_lazy(
        "“%(text)s” is no code: a code begins with a letter or digit, then letters, digits, . _ ~ and -, "
        "64 characters at most"
    ),
)
ACCOUNTS = Kind(
    "user",
    "user users userid id account accounts accountid accountnumber email username 계정 계정번호 회원 "
    "회원번호 고객번호 번호 이메일 아이디",
    r"[1-9][0-9]{0,17}",
    r"[1-9][0-9]{0,17}",
    "not_an_account",
    gettext_lazy("“%(text)s” is not an account's number, which is 1 or more"),
)
PEOPLE = ACCOUNTS._replace(pattern=r"\S+")
"""Accounts by their numbers, user names or e-mail addresses."""
