"""The stylesheet of the operators' pages, against the templates, scripts and modules that use its classes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.tests.factories import SuperuserFactory

PROJECT = Path(__file__).resolve().parents[2]
SHEET = PROJECT / "shop" / "static" / "operators" / "pages.css"
USED = re.compile(r"(?<![\w.-])fc-[a-z]+(?:-[a-z]+)*(?![\w-])")
# Put together from a prefix and a word: colours of labels, parts of an amount, states of a section.
COMPOSED = {
    *("fc-success", "fc-danger", "fc-warning", "fc-info"),
    *("fc-discount", "fc-points", "fc-card", "fc-refunded", "fc-kept"),
    *("fc-work", "fc-alarm", "fc-away"),
    *("fc-search-title", "fc-search-detail"),
}


def sources() -> Iterator[str]:
    """What can name a class: all that is part of the shop and no test."""
    for pattern in ("*/templates/**/*.html", "*/static/**/*.js", "shop/**/*.py", "orders/admin/*.py"):
        for path in PROJECT.glob(pattern):
            if "tests" not in path.parts:
                yield path.read_text()


def test_every_class_that_is_used_has_a_rule_and_every_rule_is_used() -> None:
    with_rules = set(re.findall(r"\.(fc-[a-z-]+)", SHEET.read_text()))
    used = {name for text in sources() for name in USED.findall(text)}

    assert used - with_rules == set()
    assert with_rules - used == COMPOSED


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/search/", "/admin/orders/order/", "/admin/reports/sales/"]
)
def test_every_page_links_the_stylesheet_once(client, path):
    client.force_login(SuperuserFactory.create())
    html = client.get(path).content.decode()

    assert html.count('href="/static/operators/pages.css"') == 1
