"""The tables that tests compare with the code: what differs is told, and written when asked for."""

import pytest

from foundation.tests import reference_tables

PAGE = """# Doors

## Keys

By hand above.

| door | lets | Cook | Guest |
| --- | --- | --- | --- |
| `/cellar/` | fetch wine | see | - |
| `/gone/` | nothing any more | do | do |

By hand below.
"""
COOK = {"/attic/": "-", "/cellar/": "do", "/kitchen/": "do"}
"""What a cook may do now: nothing in the attic, for which there is no row."""


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.delenv("REFERENCE", raising=False)
    path = tmp_path / "doors.md"
    path.write_text(PAGE)
    return path


def test_a_right_that_the_page_does_not_have_or_has_no_more_is_told_and_the_page_stays(page):
    told = reference_tables.differences("Keys", "Cook", COOK, page=page)

    assert "+| `/kitchen/` | | do | - |" in told
    assert "-| `/gone/` | nothing any more | do | do |" in told
    assert "attic" not in told
    assert page.read_text() == PAGE


def test_it_is_written_when_asked_for_with_what_is_kept_by_hand_and_then_nothing_differs(page, monkeypatch):
    monkeypatch.setenv("REFERENCE", "write")
    reference_tables.differences("Keys", "Cook", COOK, page=page)
    reference_tables.differences("Keys", "Guest", dict.fromkeys(COOK, "-") | {"/attic/": "see"}, page=page)
    reference_tables.differences("Keys", "Cook", COOK, page=page)
    monkeypatch.delenv("REFERENCE")

    assert page.read_text() == PAGE.replace(
        "| `/cellar/` | fetch wine | see | - |\n| `/gone/` | nothing any more | do | do |\n",
        "| `/attic/` | | - | see |\n| `/cellar/` | fetch wine | do | - |\n| `/kitchen/` | | do | - |\n",
    )
    assert reference_tables.differences("Keys", "Cook", COOK, page=page) == ""
    assert reference_tables.column("Keys", "lets", page=page)["/cellar/"] == "fetch wine"


def test_a_row_that_nobody_has_any_right_to_is_left_out(page, monkeypatch):
    monkeypatch.setenv("REFERENCE", "write")
    reference_tables.differences("Keys", "Cook", dict.fromkeys(("/cellar/", "/kitchen/"), "-"), page=page)

    assert reference_tables.column("Keys", "Guest", page=page) == {}
