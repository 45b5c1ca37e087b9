"""Files of pool codes, a code in each line: read in pieces, so that a file of any size takes little memory.

The first line may be the header `code`. A line may end with CR and LF, and its code may be quoted, as
spreadsheets write it.
"""

import csv
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from coupons import codes

HEADER = "code"
MOST_BYTES_OF_LINE = 1_000
SHOWN_CHARACTERS = 40
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class FileLine(NamedTuple):
    """A line with its code."""

    number: int
    code: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no code, and why."""

    line: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Piece:
    """The codes of whole lines of a file, and its bad lines. Empty lines and the header are neither."""

    codes: list[FileLine] = field(default_factory=list)
    errors: list[BadLine] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [line.code for line in self.codes]


def read(data: bytes, *, first_line: int = 1) -> Piece:
    """Read whole lines of a file, of which the first has this number. Bad lines are named, never raised."""
    piece = Piece()
    is_start = first_line == 1
    if is_start and data.startswith(UTF_16_MARKS):
        piece.errors.append(_bad(1, "encoding", "the file is UTF-16: save it as CSV with UTF-8"))
        return piece
    if is_start:
        data = data.removeprefix(BYTE_ORDER_MARK)
    for number, line in enumerate(data.split(b"\n"), start=first_line):
        _read_line(number, line.rstrip(b"\r"), piece)
    return piece


def _read_line(number: int, line: bytes, piece: Piece) -> None:
    """Add the line to the codes or to the errors of the piece."""
    if not line.strip():
        return
    found = _cells(number, line)
    if isinstance(found, BadLine):
        piece.errors.append(found)
        return
    cells = [cell.strip() for cell in found]
    if len(cells) > 1:
        what = "the header" if number == 1 and HEADER in map(str.lower, cells) else "it"
        detail = f"{what} has {len(cells)} cells instead of 1: keep the column {HEADER} alone"
        piece.errors.append(_bad(number, "wrong_number_of_cells", detail))
    elif number == 1 and cells[0].lower() == HEADER:
        return
    elif not re.match(codes.GIVEN_PATTERN, cells[0]):
        piece.errors.append(_bad(number, "not_a_code", _not_a_code_detail(cells[0])))
    else:
        piece.codes.append(FileLine(number, cells[0]))


def _cells(number: int, line: bytes) -> list[str] | BadLine:
    if len(line) > MOST_BYTES_OF_LINE:
        return _bad(number, "too_long", f"has {len(line)} bytes; a code has 64 characters at most")
    if b"\x00" in line:
        return _bad(number, "nul", "has a NUL character: is the file UTF-8 text?")
    if b"\r" in line:
        return _bad(number, "line_end", "has a CR inside: end lines with LF, or with CR and LF")
    try:
        [cells] = csv.reader([line.decode("ascii")], strict=True)
    except UnicodeDecodeError:
        return _bad(number, "not_ascii", "has characters that no code may have: only ASCII is allowed")
    except (csv.Error, ValueError):
        return _bad(number, "quotes", "has a quote that doesn't end")
    return cells


def _not_a_code_detail(cell: str) -> str:
    shown = cell if len(cell) <= SHOWN_CHARACTERS else f"{cell[:SHOWN_CHARACTERS]}…"
    rule = "a code begins with a letter or digit, then letters, digits, . _ ~ and -, 64 characters at most"
    return f"“{shown}” is no code: {rule}"


def _bad(line: int, code: str, detail: str) -> BadLine:
    return BadLine(line, code, detail)
