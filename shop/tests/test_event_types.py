"""The types of events: docs/reference/events.md lists each, and each is a line that the code writes."""

import re
from pathlib import Path

from scripts.stack import places
from scripts.tests import documented
from shop.event_feed import catalogue

APPS = ("shop", "coupons", "inventory", "payments", "sales", "orders")
FORMATTED = {"order", "stock", "product", "campaign", "sale"}
"""Whose names are put together where they are written: `order.{status}`."""


def sources() -> str:
    files = [file for app in APPS for file in (places.PROJECT / app).rglob("*.py")]
    return "\n".join(_text(file) for file in files if "tests" not in file.parts)


def _text(file: Path) -> str:
    return "" if file.name == "catalogue.py" else file.read_text()


def test_the_page_has_a_row_for_each_type_and_none_besides() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \|", documented.page("reference/events.md"), re.MULTILINE)
    assert sorted(rows) == sorted(catalogue.TYPES)


def test_each_line_of_the_journal_that_is_an_event_is_written_somewhere() -> None:
    text = sources()
    for what in catalogue.FROM_JOURNAL:
        group = what.partition(".")[0]
        is_formatted = group in FORMATTED and re.search(rf'f"(?:{group}|\{{[\w.]+\}})\.\{{', text)
        assert f'"{what}"' in text or is_formatted, what


def test_patterns_choose_types_by_their_beginning_alone() -> None:
    assert catalogue.matches("order.paid", "order.*")
    assert catalogue.matches("order.paid", "order.paid")
    assert catalogue.matches("order.paid", "*")
    assert not catalogue.matches("order.paid_twice", "order.paid")
    assert not catalogue.matches("orders.paid", "order.*")
