"""The types of events: docs/reference/events.md lists each, and each is a line that the code writes."""

import re

from coupons.campaigns import campaigns
from events.feed import catalogue
from inventory import products
from sales import terms
from scripts.stack import places
from scripts.tests import documented

FORMATTED = {"order", "stock", "product", "campaign", "sale"}
"""Whose names are put together where they are written: `order.{status}`."""


def sources() -> str:
    files = [file for app in places.APPS for file in (places.PROJECT / app).rglob("*.py")]
    skipped = {"tests", "catalogue.py"}
    return "\n".join(file.read_text() for file in files if not skipped & set(file.parts))


def test_the_page_has_a_row_for_each_type_and_none_besides():
    rows = re.findall(r"^\| `([a-z_.]+)` \|", documented.page("reference/events.md"), re.MULTILINE)
    assert sorted(rows) == sorted(catalogue.TYPES)


def test_each_term_of_a_campaign_a_sale_and_a_product_is_in_its_events_but_the_shared_code():
    """A new term is decided about here: events are for programs that may not read what they name."""
    for type in ("created", "changed"):
        assert {*campaigns.TERMS} - {*catalogue.MEMBERS[f"campaign.{type}"]} == {"shared_code"}
        assert {*catalogue.MEMBERS[f"sale.{type}"]} == {*terms.TERMS, "products"}
        assert {*catalogue.MEMBERS[f"product.{type}"]} == {*products.TERMS}


def test_the_page_names_the_members_of_each_type():
    rows = re.findall(
        r"^\| `([a-z_.]+)` \|.*\| (.*) \|$", documented.page("reference/events.md"), re.MULTILINE
    )
    for type, described in rows:
        if "terms" in described or "those that changed" in described:
            continue
        # Behind a colon are the members of a member.
        named = re.findall(
            r"`([a-z_]+)`", described.replace(": null", "").replace("as `order.paid`", "").partition(": ")[0]
        )
        of_order = {*catalogue.MEMBERS["order.paid"]} if "as `order.paid`" in described else set()
        subject = {"order", "coupon", "product"}
        assert {*named, *of_order} - subject == {*catalogue.MEMBERS[type]} - subject, type


def test_each_line_of_the_journal_that_is_an_event_is_written_somewhere():
    text = sources()
    for what in catalogue.FROM_JOURNAL:
        group = what.partition(".")[0]
        is_formatted = group in FORMATTED and re.search(rf'f"(?:{group}|\{{[\w.]+\}})\.\{{', text)
        assert f'"{what}"' in text or is_formatted, what
