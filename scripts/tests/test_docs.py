"""The documents against the code: what they name is there, and what is there is named."""

import ast
import importlib
import re
import tomllib
from functools import reduce
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import get_commands

from scripts.stack import environment, places
from shop.management import laws
from shop.tests import operators_page

APPS = ("shop", "coupons", "inventory", "payments", "sales", "orders")
DOCS = places.PROJECT / "docs"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *(places.PROJECT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    ]
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(places.PROJECT)))


def test_every_package_stands_in_the_table_as_it_describes_itself():
    text = (DOCS / "architecture.md").read_text()
    rows = re.findall(r"^\| `([\w/]+)/` \| (.+) \|$", text, flags=re.MULTILINE)
    assert dict(rows) == {name: _first_line(name) for name in _packages()}


def test_the_contracts_of_layers_are_quoted_as_they_are():
    settings = tomllib.loads((places.PROJECT / "pyproject.toml").read_text())
    contracts = [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]
    packages = (DOCS / "architecture.md").read_text().partition("## Which thread runs what")[0]
    assert re.findall(r"^- (.+)$", packages, flags=re.MULTILINE) == contracts


@every_page
def test_every_path_is_there(page: Path):
    folders = "|".join((*APPS, "scripts", "docs", "k6", "ops", "clients"))
    named = [code for code in _code(page) if re.fullmatch(rf"(?:{folders})/[\w./-]*", code)]
    linked = [link.partition("#")[0] for link in re.findall(r"\]\(([^):]+)\)", page.read_text())]
    assert [path for path in named if not _is_there(places.PROJECT, path)] == []
    assert [path for path in linked if not _is_there(page.parent, path)] == []


@every_page
def test_every_name_in_the_code_is_there(page: Path):
    named = [code for code in _code(page) if re.fullmatch(rf"(?:{'|'.join(APPS)})(?:\.\w+)+", code)]
    # Permissions look like names; shop/tests/test_groups_of_staff.py compares them with the database.
    permissions = operators_page.column("Permissions", "permission")
    assert [name for name in named if not _resolves(name) and name not in permissions] == []


@every_page
def test_every_make_target_and_command_is_there(page: Path):
    code = "\n".join(_code(page))
    targets = re.findall(r"^([a-z-]+):", (places.PROJECT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= {*targets}
    assert set(re.findall(r"(?:manage\.py |manage ARGS=\"?)([a-z_]+)", code)) <= get_commands().keys()


def test_every_law_stands_as_the_audit_says_it():
    rows = re.findall(
        r"^\| (L\d+) \| ([^|]+) \| ([^|]+) \|$", (DOCS / "laws.md").read_text(), flags=re.MULTILINE
    )
    assert {law: says for law, says, _ in rows} == laws.LAWS
    assert all("`" in audited_by for _, _, audited_by in rows)


def test_every_constraint_is_named_once_where_it_belongs():
    constraints = {
        constraint.name
        for app in APPS
        for model in apps.get_app_config(app).get_models()
        for constraint in model._meta.constraints
    }
    named = {code for code in _code(DOCS / "laws.md") if re.fullmatch(rf"(?:{'|'.join(APPS)})_\w+", code)}
    assert named == constraints


def test_every_law_names_its_races():
    assert len([code for code in _code(DOCS / "laws.md") if "::test_" in code]) > 20


@every_page
def test_every_test_that_is_named_is_there(page: Path):
    tests = [code.split("::") for code in _code(page) if re.fullmatch(r"\S+\.py::test_\w+", code)]
    assert [f"{path}::{name}" for path, name in tests if name not in _functions(path)] == []


def test_every_setting_is_listed_with_its_default(tmp_path: Path):
    example = (places.PROJECT / ".env.example").read_text()
    uncommented = tmp_path / ".env"
    uncommented.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", example, flags=re.MULTILINE))
    text = (DOCS / "operations.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)?[^|]*\| [^|]+\|$", text, flags=re.MULTILINE)
    assert dict(rows) == environment.read_file(uncommented)


def test_every_page_is_on_the_map_of_the_docs():
    """Decisions have an index of their own: scripts/tests/test_adr_index.py."""
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    linked = re.findall(r"\]\(([^)]+)\)", (DOCS / "README.md").read_text())
    assert pages | {"adr/README.md"} <= set(linked)


def _packages() -> list[str]:
    """Every package of the apps, but those whose place Django knows."""
    return [
        str(path.parent.relative_to(places.PROJECT))
        for app in APPS
        for path in (places.PROJECT / app).rglob("__init__.py")
        if not {"tests", "migrations", "management"} & set(path.parts)
    ]


def _first_line(package: str) -> str:
    docstring = ast.get_docstring(ast.parse((places.PROJECT / package / "__init__.py").read_text())) or ""
    return docstring.partition("\n")[0]


def _code(page: Path) -> list[str]:
    """What the page shows as code: spans, and whole blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [*(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)), *blocks]


def _is_there(folder: Path, path: str) -> bool:
    """Decisions may be named by their number alone."""
    return (folder / path).exists() or bool(re.search(r"adr/\d+$", path) and [*folder.glob(f"{path}-*.md")])


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            reduce(getattr, parts[length:], module)
        except AttributeError:
            return False
        return True
    return False


def _functions(path: str) -> set[str]:
    tree = ast.parse((places.PROJECT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
