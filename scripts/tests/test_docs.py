"""The documents against the code: what they name is there, on every page; and the site is built of them."""

import ast
import importlib
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable
from functools import cache, reduce
from pathlib import Path
from statistics import mean

import pytest
import yaml
from django.apps import apps
from django.core.management import get_commands

from coupons import issuing
from coupons.partners.contract import Partner
from coupons.tests.under_load import NEED_NO_REDIS
from events.feed import catalogue
from foundation.operations.audits import laws
from foundation.tests import reference_tables
from payments.gateways.contract import Gateway
from scripts import docs_site, reference
from scripts.stack import SetupError, places, ports
from scripts.tests import documented
from shop.burst import table

DOCS = places.PROJECT / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), *places.PROJECT.glob("[A-Z]*.md"), *places.PROJECT.glob("clients/*/README.md")]
)
PATH = re.compile(rf"(?:{'|'.join(places.APPS)}|scripts|lab|docs|k6|ops|clients)/[\w./-]*")
SYMBOL = re.compile(r"([\w/.-]+\.py)::([\w:.]+)")
NAME = re.compile(rf"(?:{'|'.join(places.APPS)})(?:\.\w+)+")
MODULE = re.compile(r"python -m (scripts(?:\.\w+)+)")
ARGUMENTS = re.compile(r'make test ARGS="([^"]+)"')
SETTINGS_OF_A_ROW = re.compile(r"`([A-Z]+_[A-Z_]+)`")


def refuse(found: Callable[[Path], Iterable[object]], *, in_history=False):
    """Fail with all that the rule finds on any page; what CHANGELOG names may be gone since."""
    pages = [page for page in PAGES if in_history or page.name != "CHANGELOG.md"]
    assert pages
    named = [f"{page.relative_to(places.PROJECT)}: {one}" for page in pages for one in found(page)]
    assert not named, "\n".join(named)


def test_every_link_leads_somewhere():
    """Anchors too, when the site is built."""

    def found(page):
        links = (link.partition("#")[0] for link in re.findall(r"\]\(([^):]+)\)", page.read_text()))
        return (link for link in links if not _is_there(page.parent, link))

    refuse(found, in_history=True)


def test_every_path_is_there():
    def found(page):
        yield from (one for one in _code(page) if PATH.fullmatch(one) and not _is_there(places.PROJECT, one))
        modules = " ".join(ARGUMENTS.findall("\n".join(_code(page)))).split()
        if "howto" not in page.parts:  # which name tests that they add
            yield from (one for one in modules if ".py" in one and not _defines(*one.partition("::")[::2]))

    refuse(found)


def test_every_symbol_and_name_of_the_code_is_there():
    # Permissions look like names; shop/tests/test_groups_of_staff.py compares them with the database. So does
    # one type of event.
    others = {*reference_tables.column("Permissions", "permission"), catalogue.SKIPPED}

    def found(page):
        for code in _code(page):
            if symbol := SYMBOL.fullmatch(code):
                is_there = _defines(*symbol.groups())
            else:
                is_there = not NAME.fullmatch(code) or code in others or _resolves(code)
            if not is_there:
                yield code

    refuse(found)


def test_every_make_target_command_and_module_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (places.PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    commands = get_commands().keys()

    def found(page):
        code = "\n".join(_code(page))
        yield from {f"make {one}" for one in re.findall(r"\bmake ([a-z-]+)", code)} - {
            f"make {one}" for one in targets
        }
        yield from set(re.findall(r"\bmanage(?:\.py)? (?:ARGS=\"?)?([a-z_]+)", code)) - commands
        for module in set(MODULE.findall(code)):
            path = places.PROJECT / module.replace(".", "/")
            if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
                yield module

    refuse(found)


def test_what_is_not_there_is_found(tmp_path, monkeypatch):
    assert not _defines("orders/prices.py", "split_discount")
    assert not _defines("orders/pricing.py", "split")
    assert _defines("orders/pricing.py", "split_discount")
    assert _defines("orders/saga/definitions.py", "SagaType.next_step")
    assert not _resolves("foundation.http.pagination.SMALLEST_PAGE") and not _resolves("orders.prices")
    assert _resolves("foundation.http.pagination.LARGEST_PAGE")
    page = tmp_path / "page.md"
    page.write_text(
        "`orders/prices.py` `orders/pricing.py::split` [a](gone.md) `make gone`\n```json\n{\n```\n"
    )
    monkeypatch.setitem(globals(), "PAGES", [page])
    monkeypatch.setattr(places, "PROJECT", tmp_path)
    (tmp_path / "Makefile").write_text("run:\n")
    for rule in (
        test_every_link_leads_somewhere,
        test_every_path_is_there,
        test_every_symbol_and_name_of_the_code_is_there,
        test_every_make_target_command_and_module_is_there,
        test_every_block_of_code_can_be_read,
    ):
        with pytest.raises(AssertionError):
            rule()
    page.write_text("| Nine laws. |")
    with pytest.raises(AssertionError, match=f"{len(laws.LAWS)} laws: Nine laws."):
        test_what_is_counted_in_words_is_counted_by_the_code_too()


def test_every_law_and_constraint_is_listed():
    text = (DOCS / "laws.md").read_text()
    assert {*re.findall(r"^\| (L\d+) \|", text, flags=re.MULTILINE)} == laws.LAWS.keys()
    constraints = {
        constraint.name
        for app in places.LABELS
        for model in apps.get_app_config(app).get_models()
        for constraint in model._meta.constraints
    }
    named = {
        one for one in _code(DOCS / "laws.md") if re.fullmatch(rf"(?:{'|'.join(places.LABELS)})_\w+", one)
    }
    assert named == constraints


def test_every_setting_is_listed_with_its_default_and_changes_name_no_other(tmp_path):
    settings = documented.example_settings(tmp_path)
    text = documented.page("reference/settings.md")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| [^|]+\|$", text, flags=re.MULTILINE)
    assert dict(rows) == settings
    rows_of_changes = re.findall(r"^\| [^|]+\| ([^|]+) \|", (DOCS / "changing.md").read_text(), re.MULTILINE)
    assert {one for row in rows_of_changes for one in SETTINGS_OF_A_ROW.findall(row)} <= settings.keys()


NUMBERS = re.findall(
    r"\w+",
    "no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
)
NUMBER = re.compile(rf"\b(\d+|{'|'.join(NUMBERS)}) ([a-z]+)\b", re.IGNORECASE)
# How many there are of a noun, in a sentence with that word.
COUNTED = {
    ("laws", ""): len(laws.LAWS),
    ("calls", "crowd"): sum(not one.name.startswith("lab.") for one in table.CALLS.values()),
    ("ways", "campaign"): len(issuing.STRATEGIES),
    ("strategies", "coupons"): len(issuing.STRATEGIES) - len(NEED_NO_REDIS),
    ("functions", "`payments.gateways"): len(documented.functions(Gateway)),
    ("functions", "`coupons.partners"): len(documented.functions(Partner)),
    ("apps", "project"): len(places.APPS) - 2,
    ("operations", "budget"): len(tomllib.loads((places.PROJECT / "lab/bench/budget.toml").read_text())),
}


def test_what_is_counted_in_words_is_counted_by_the_code_too():
    """But in what was measured once, of which the page names the commit. Each noun is found somewhere."""
    met = set()

    def found(page):
        if {"lab", "bench"} & set(page.parts):
            return
        for sentence in documented.sentences(page.read_text()):
            for number, noun in NUMBER.findall(sentence):
                count = int(number) if number.isdigit() else NUMBERS.index(number.lower())
                for key, expected in COUNTED.items():
                    if noun == key[0] and key[1] in sentence:
                        met.add(key)
                        if count != expected:
                            yield f"{expected} {noun}: {sentence}"

    refuse(found)
    assert met == COUNTED.keys()


def test_releases_and_servers_are_those_of_the_changelog_and_the_compose_file():
    releases = set(re.findall(r"(?m)^## \[(\d+\.\d+)", (places.PROJECT / "CHANGELOG.md").read_text()))
    compose = (places.PROJECT / "docker-compose.yml").read_text()
    servers = dict(re.findall(r"image: (mysql|redis|rabbitmq):(\d+\.\d+)", compose))

    def found(page):
        text = page.read_text()
        yield from set(re.findall(r"\b[Rr]elease (\d\.\d)", text)) - releases
        for line in text.splitlines():
            if "compose" in line or line.startswith("| `mysql`"):
                named = re.findall(r"\b(MySQL|Redis|RabbitMQ) (\d+\.\d+)", line)
                yield from (one for one in named if servers[one[0].lower()] != one[1])

    refuse(found)


READ_MOST = re.findall(
    r"\S+",
    "README.md CONTRIBUTING.md docs/tutorial.md docs/integrate.md docs/architecture.md docs/operations.md "
    "coupons/issuing.py coupons/eligibility.py coupons/allocation/allocating.py coupons/gate.py "
    "orders/placement/decisions.py orders/payment/purchase.py orders/saga/run.py inventory/stock_levels.py "
    "inventory/availability.py foundation/concurrency/batching.py foundation/idempotency/recorded_answers.py "
    "foundation/operations/audits/scheduled_audit.py lab/compare/cases.py",
)


@pytest.mark.parametrize("name", READ_MOST)
def test_sentences_of_what_is_read_most_are_short(name):
    prose = documented.prose(places.PROJECT / name)
    longest = max(documented.sentences(prose), key=lambda one: len(one.split()))
    assert len(longest.split()) <= (50 if name == "docs/operations.md" else 35), longest
    # Cells and headings would make the mean small.
    without = re.sub(r"(?m)^ *(?:\||#+ ).*$", "", prose)
    assert mean(len(one.split()) for one in documented.sentences(without)) <= 18


READ = {
    "sh": lambda text: subprocess.run(["sh", "-n"], input=text, text=True, check=True, capture_output=True),
    "python": ast.parse,
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
}
NOT_PARSED = {"", "text", "diff", "typescript", "sql", "promql"}


@pytest.mark.boots("sh, which reads blocks of shell", in_first_circle=True)
def test_every_block_of_code_can_be_read():
    def found(page):
        for block in documented.blocks(page.read_text()):
            if block.language in NOT_PARSED:
                continue
            try:
                READ[block.language](block.text)
            except Exception as error:
                yield f"line {block.line}: {error!r}"

    refuse(found, in_history=True)


@cache
def _code(page):
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [*(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)), *blocks]


def _is_there(folder, path):
    """Decisions may be named by their number alone."""
    return (folder / path).exists() or bool(re.search(r"adr/\d+$", path) and [*folder.glob(f"{path}-*.md")])


def _resolves(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
            reduce(getattr, parts[length:], module)
        except ModuleNotFoundError:
            continue
        except AttributeError:
            return False
        return True
    return False


def _defines(path, symbol):
    """Whether the file is there, and has each part of the symbol: functions, classes and what is assigned."""
    file = places.PROJECT / path
    return file.exists() and (not symbol or set(re.split(r"::|\.", symbol)) <= _names(file))


@cache
def _names(file):
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
    return found


@pytest.mark.boots("zensical")
def test_the_site_is_built_without_a_warning(tmp_path):
    site = docs_site.build(tmp_path)

    html = (site / "tutorial" / "index.html").read_text()
    assert "A drop in ten minutes" in html or "a drop in ten minutes" in html
    assert 'href="../howto/run-a-launch/"' in html
    threads = (site / "threads" / "index.html").read_text()
    assert 'href="../api-calls/#adding-a-call-of-the-api"' in threads
    hosts = set(re.findall(r"(?:src|href)=\"?(?:https?:)?//([\w.-]+)", html))
    assert hosts <= {"zensical.org", ports.HOST}, "a page loads nothing from other hosts"

    assert 'href="../reference/calls/index.html"' in html
    calls = site / "reference" / "calls" / "index.html"
    html = calls.read_text()
    for named in re.findall(r'(?:src|href|spec-url)="([^":]+)"', html):
        assert (calls.parent / named).exists(), named
    assert "default-src 'self'" in html and "//" not in html, "nor does the reference of all calls"


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


def test_every_code_of_the_api_is_explained_with_its_statuses():
    document = yaml.safe_load((DOCS / "openapi.yaml").read_text())
    statuses = {}
    for item in document["paths"].values():
        for method in item.keys() & set(reference.METHODS):
            for status, codes in reference.refusal_codes(item[method]).items():
                for code in codes:
                    statuses.setdefault(code, set()).add(status)
    rows = re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \|", documented.page("reference/codes.md"))
    assert len(dict(rows)) == len(rows), "each once"
    # The statuses are of those that calls return.
    documented_codes = {
        code: set(re.findall(r"\b\d{3}\b", cell)) if cell[:3].isdigit() else set() for code, cell in rows
    }
    assert {code for code in statuses if not statuses[code] <= documented_codes.get(code, set())} == set()
    # What answers before a call is reached, or instead of it.
    beyond = {"method_not_allowed": {"405"}, "internal_error": {"500"}, "too_large": {"413"}}
    for code, expected in beyond.items():
        assert documented_codes[code] == expected
    of_calls = {code for code, found in documented_codes.items() if found}
    assert of_calls == statuses.keys() | beyond.keys()
