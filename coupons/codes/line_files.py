"""Files of pool codes or of accounts, one in each line: read in pieces, so that any size takes little memory.

The first line may be the header, `code` or `user`. A line may end with CR and LF, and its cell may be quoted,
as spreadsheets write it.
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

MOST_BYTES_OF_LINE = 1_000
LINES_AT_ONCE = 4_000
SHOWN_CHARACTERS = 40
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
    """What a file has in its lines: its header, the pattern of a cell, and what is wrong with others."""

    header: str
    pattern: str
    error: str
    detail: Any


def pieces(file: BinaryIO, *, kind: Kind) -> Iterator[Piece]:
    """Read a file of any size, some whole lines at a time. Raises `Invalid` for one that is no text."""
    if file.read(4).startswith(UNLIKE_LINES):
        file.seek(0)
        file = BytesIO(uploaded_text.decode(file.read()).text.encode())
    file.seek(0)
    numbered = enumerate(file, start=1)
    while lines := list(islice(numbered, LINES_AT_ONCE)):
        piece = Piece()
        for number, line in lines:
            text, wrong = _cell(line.rstrip(b"\r\n"), number == 1, kind)
            if wrong:
                piece.errors.append(BadLine(number, *wrong))
            elif text:
                piece.lines.append(FileLine(number, text))
        yield piece


def _cell(line: bytes, is_first: bool, kind: Kind) -> tuple[str, tuple[str, str] | None]:
    """The cell of a line, empty for the header and an empty line, and a code and text of what is wrong."""
    if len(line) > MOST_BYTES_OF_LINE:
        detail = gettext("has %(bytes)s bytes; a code has 64 characters at most") % {"bytes": len(line)}
        return "", ("too_long", detail)
    whole = _decoded(line, "utf-8-sig" if is_first else "utf-8")
    try:
        [row] = csv.reader([whole], strict=True)
    except csv.Error:
        row = [whole]
    cells = [cell.strip(" \t") for cell in row] or [""]
    if len(cells) > 1:
        detail = gettext("it has %(count)s cells instead of 1: keep the column %(column)s alone")
        return "", ("wrong_number_of_cells", detail % {"count": len(cells), "column": kind.header})
    text = cells[0]
    if not text or (is_first and text.lower() == kind.header):
        return "", None
    if not re.fullmatch(kind.pattern, text):
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
    code_format.GIVEN_PATTERN,
    "not_a_code",
    gettext_lazy(
        "“%(text)s” is no code: a code begins with a letter or digit, then letters, digits, . _ ~ and -, "
        "64 characters at most"
    ),
)
ACCOUNTS = Kind(
    "user",
    r"[1-9][0-9]{0,17}",
    "not_an_account",
    gettext_lazy("“%(text)s” is no account: an account's id is a number from 1 on"),
)
