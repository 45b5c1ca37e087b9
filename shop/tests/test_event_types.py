"""The types of events: docs/reference/events.md lists each, and each is a line that the code writes."""

import re

from scripts.stack import places
from scripts.tests import documented
from shop.event_feed import catalogue

APPS = ("shop", "coupons", "inventory", "payments", "sales", "orders")
FORMATTED = {"order", "stock", "product", "campaign", "sale"}
"""Whose names are put together where they are written: `order.{status}`."""


def sources() -> str:
    files = [file for app in APPS for file in (places.PROJECT / app).rglob("*.py")]
    skipped = {"tests", "catalogue.py"}
    return "\n".join(file.read_text() for file in files if not skipped & set(file.parts))


def test_the_page_has_a_row_for_each_type_and_none_besides() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \|", documented.page("reference/events.md"), re.MULTILINE)
    assert sorted(rows) == sorted(catalogue.TYPES)


def test_each_line_of_the_journal_that_is_an_event_is_written_somewhere() -> None:
    text = sources()
    for what in catalogue.FROM_JOURNAL:
        group = what.partition(".")[0]
        is_formatted = group in FORMATTED and re.search(rf'f"(?:{group}|\{{[\w.]+\}})\.\{{', text)
        assert f'"{what}"' in text or is_formatted, what
