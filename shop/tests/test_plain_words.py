"""Operators read words: no code and no id on a list or a page, but in the fold for engineers."""

import re
from html.parser import HTMLParser

import lxml.html
import pytest
from django.contrib import admin
from django.urls import reverse

from backoffice.tests.rows_of_every_model import fill_all_models
from events.webhooks import endpoints
from foundation.tests import admin_addresses
from foundation.tests.case_tables import check_each

pytestmark = pytest.mark.django_db
EVERY_ROW = {
    "Saga": {"needs": "everything"},
    "Approval": {"decision": "everything"},
    "Payment": {"show": "everything"},
}
NOT_SAID = re.compile(
    r"\b[a-z]+(?:_[a-z0-9]+)+\b"
    r"|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{32}\b"
    r"|(?<![\d,.])1 (?:rows|orders|lines|differences|products|campaigns|results)\b"
)
NAMELESS = (
    "(//button | //a[@href])[not(@aria-label or @title or normalize-space() or .//*[@alt or @aria-label])]"
)
UNSEEN = {"script", "style", "option", "head", "textarea", "template", "details"}
ICON = "material-symbols"


class SeenText(HTMLParser):
    """The text of a page that people read before they open a fold."""

    def __init__(self):
        super().__init__()
        self.words: list[str] = []
        self._around: list[str] = []

    def handle_starttag(self, tag: str, attrs):
        look = dict(attrs).get("class") or ""
        if (tag in UNSEEN and "fc-fold" not in look) or ICON in look:
            self._around.append(tag)

    def handle_endtag(self, tag: str):
        if self._around and self._around[-1] == tag:
            self._around.pop()

    def handle_data(self, data: str):
        if not self._around and data.strip():
            self.words.append(data.strip())


def not_said(client, path: str, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200, path
    root = lxml.html.document_fromstring(answer.text)
    assert [lxml.html.tostring(one)[:200] for one in root.xpath(NAMELESS)] == [], path
    page = SeenText()
    page.feed(answer.text)
    return " | ".join(text for text in page.words if NOT_SAID.search(text))


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_list_and_every_page_of_a_row_is_in_words(operator, language):
    fill_all_models()
    endpoints.find()
    operator.defaults["HTTP_ACCEPT_LANGUAGE"] = language

    def is_in_words(model, pages):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = [admin_addresses.first_row(model).pk]
        assert not_said(operator, reverse(f"{name}_changelist"), **EVERY_ROW.get(model.__name__, {})) == ""
        for page in {f"{name}_change", pages.row_page or f"{name}_change"}:
            assert not_said(operator, reverse(page, args=row)) == ""

    check_each(admin.site._registry.items(), is_in_words)
