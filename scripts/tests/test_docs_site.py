"""The documentation's site: builds without a warning, has every page, and explains each code of the API."""

import re

import pytest
import yaml

from scripts import docs_site, reference
from scripts.docs_site import DOCS
from scripts.stack import SetupError, places, ports
from scripts.tests import documented

CODES = documented.page("reference/codes.md")


@pytest.mark.boots("zensical")
def test_the_site_is_built_without_a_warning(tmp_path):
    site = docs_site.build(tmp_path)

    html = (site / "tutorial" / "index.html").read_text()
    assert "A drop in ten minutes" in html or "a drop in ten minutes" in html
    assert 'href="../howto/run-a-launch/"' in html
    threads = (site / "threads" / "index.html").read_text()
    assert 'href="../project/CONTRIBUTING/#adding-a-call-of-the-api"' in threads
    hosts = set(re.findall(r"(?:src|href)=\"?(?:https?:)?//([\w.-]+)", html))
    assert hosts <= {"zensical.org", ports.HOST}, "a page loads nothing from other hosts"


@pytest.mark.boots("zensical")
def test_a_link_or_an_anchor_that_leads_nowhere_ends_the_build(tmp_path, monkeypatch):
    docs = tmp_path / "docs"
    (docs / "adr").mkdir(parents=True)
    (docs / "README.md").write_text("# Home\n\n[a](gone.md) [b](other.md#gone) [c](other.md#here)\n")
    (docs / "other.md").write_text("# Other\n\n## Here\n")
    configuration = re.sub(r"(?s)\nnav:\n.*", "\n", docs_site.CONFIGURATION.read_text())
    (tmp_path / "mkdocs.yml").write_text(f"{configuration}nav:\n  - x:\n          - adr/README.md\n")
    monkeypatch.setattr(docs_site, "DOCS", docs)
    monkeypatch.setattr(docs_site, "PROJECT_PAGES", ())
    monkeypatch.setattr(docs_site, "CONFIGURATION", tmp_path / "mkdocs.yml")
    monkeypatch.setattr(places, "PROJECT", tmp_path)

    with pytest.raises(SetupError, match=r"(?s)page does not exist.*anchor does not exist") as raised:
        docs_site.build(tmp_path / "built")
    assert "\x1b" not in str(raised.value) and "Traceback" not in str(raised.value)


def rows_of_codes() -> dict[str, set[str]]:
    """The codes of the page, with the statuses of those that calls return."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", CODES, flags=re.MULTILINE)
    assert len(dict(rows)) == len(rows), "each once"
    return {code: set(re.findall(r"\b\d{3}\b", cell)) if cell[:3].isdigit() else set() for code, cell in rows}


def test_every_code_of_the_api_is_explained_with_its_statuses():
    document = yaml.safe_load((DOCS / "openapi.yaml").read_text())
    statuses: dict[str, set[str]] = {}
    for item in document["paths"].values():
        for method in item.keys() & set(reference.METHODS):
            for status, codes in reference.refusal_codes(item[method]).items():
                for code in codes:
                    statuses.setdefault(code, set()).add(status)
    documented_codes = rows_of_codes()
    assert {code for code in statuses if not statuses[code] <= documented_codes.get(code, set())} == set()
    # What answers before a call is reached, or instead of it.
    beyond = {"method_not_allowed": {"405"}, "internal_error": {"500"}, "too_large": {"413"}}
    for code, expected in beyond.items():
        assert documented_codes[code] == expected
    of_calls = {code for code, found in documented_codes.items() if found}
    assert of_calls == statuses.keys() | beyond.keys()
