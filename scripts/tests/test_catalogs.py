"""Catalogs: what is extracted, and found missing."""

import re

import pytest

from foundation.tests.case_tables import in_one_test
from scripts import catalogs
from scripts.stack import places

SOURCE = """from foundation.lazy_texts import mark

raise Rejected(mark("{campaign} is sold out.", campaign=name))
"""
TEMPLATE = (
    "<p>\n   {% load i18n %}{% blocktranslate trimmed %}\n  Hello {{ name }}\n{% endblocktranslate %}</p>"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one app, without packages that need a catalog."""
    (tmp_path / "coupons" / "templates").mkdir(parents=True)
    (tmp_path / "coupons" / "refusing.py").write_text(SOURCE)
    (tmp_path / "coupons" / "templates" / "hello.html").write_text(TEMPLATE)
    monkeypatch.setattr(places, "PROJECT", tmp_path)
    monkeypatch.setattr(catalogs.places, "APPS", ("coupons",))
    return tmp_path


def fill(**translations: str):
    """Translate texts of the catalog, by the first word of each."""
    path = catalogs.po_path("coupons", "ko")
    text = path.read_text()
    for first, translation in translations.items():
        text = re.sub(rf'(msgid "{{?{first}.*\nmsgstr ).*', rf'\1"{translation}"', text)
    path.write_text(text)


def findings() -> list[str]:
    return [finding.partition(": ")[2] for finding in catalogs.find_faults()]


def test_the_check_names_what_is_missing_and_passes_once_it_is_there(project):
    assert any("is not what the code says" in finding for finding in findings())
    catalogs.update("coupons")
    assert sorted(findings()) == [
        "'Hello %(name)s' is not translated",
        "'{campaign} is sold out.' is not translated",
    ]
    fill(Hello="안녕하세요, %(name)s", campaign="{campaign} 매진")
    assert findings() == ["its .mo is out of date: run `make generate`"]
    catalogs.update("coupons")
    assert findings() == []


@in_one_test("other", ["%(names)s 안녕하세요", "안녕하세요", "%(name)s %(name)s", "{name} 안녕하세요"])
def test_other_values_than_those_of_the_original_are_found(project, other):
    catalogs.update("coupons")
    fill(Hello=other, campaign="{campaign} 매진")
    catalogs.update("coupons")
    assert len(findings()) == 1
    assert "has the values" in findings()[0]
