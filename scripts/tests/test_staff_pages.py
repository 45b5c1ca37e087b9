"""`make staff-pages`: the table of times, and the pieces of an upload."""

from itertools import pairwise

from scripts.bench.staff_pages import long_work, timing
from scripts.bench.staff_pages.timing import Timed


def page(of: str, way: str, *took_ms: float, status: int = 200) -> Timed:
    facts = {
        "of": of,
        "way": way,
        "path": f"/{of}/",
        "statements": 3,
        "slowest_ms": 9.0,
        "slowest": "SELECT 1",
    }
    return Timed(facts, took_ms, status)


def test_the_table_shows_the_slowest_way_of_each_list_and_what_misses_the_goal() -> None:
    timed = [
        page("orders", "first page", 30, 40, 50),
        page("orders", "by status", 90, 250, 300),
        page("home", "", 10),
    ]
    rows = list(timing.table(timed))[2:]
    assert rows[0] == "| orders | 2 | 145 ms | by status | 250 ms | 300 ms | at most 3 | 1 |"
    assert rows[1].endswith("| at most 3 |  |")
    slow = list(timing.slow_ones(timed))
    assert len(slow) == 1
    assert "orders, by status" in slow[0]
    assert "SELECT 1" in slow[0]


def test_a_server_error_is_slow_however_fast_it_was() -> None:
    assert page("orders", "first page", 3, status=503).is_slow
    assert not page("orders", "first page", 3, status=302).is_slow


def test_an_upload_is_sent_in_pieces_of_whole_lines_that_the_page_would_send() -> None:
    pieces = list(long_work._pieces("ABCD", 10_000))
    assert b"".join(piece for _, piece in pieces).count(b"\n") == 10_000
    for (first, piece), (following, _) in pairwise(pieces):
        assert following == first + piece.count(b"\n")
        assert len(piece) <= long_work.PIECE_BYTES
        assert piece.count(b"\n") <= long_work.PIECE_LINES
