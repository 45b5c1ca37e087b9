"""docs/changing.md against the code: what its rows name exists."""

import ast
import re

import pytest

from scripts.stack import places

TEXT = (places.PROJECT / "docs" / "changing.md").read_text()
CELLS = [line[1:-1].split("|") for line in TEXT.splitlines() if line.startswith("| ")]
ROWS = [tuple(cell.strip() for cell in cells) for cells in CELLS if cells[0].strip() not in ("change", "---")]
BESIDE_THE_APPS = {".env.example", "docker-compose.yml", "pyproject.toml"}
# Modules of the same name in every app.
IN_EVERY_APP = {"api.py", "schemas.py", "urls.py", "models.py"}
every_row = pytest.mark.parametrize(("change", "edit", "run", "seconds"), ROWS, ids=[row[0] for row in ROWS])


def test_the_page_has_rows_with_four_cells_and_no_change_twice():
    assert len(ROWS) > 20
    assert {len(row) for row in ROWS} == {4}
    assert len({row[0] for row in ROWS}) == len(ROWS)


@every_row
def test_every_place_of_a_row_exists(change: str, edit: str, run: str, seconds: str):
    named = _places(edit)
    settings = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", edit))
    assert named or settings, "the row names no place to edit"
    assert [place for place in named if not _exists(place)] == []
    assert settings <= _settings()


@every_row
def test_every_test_module_of_a_row_exists(change: str, edit: str, run: str, seconds: str):
    commands = re.findall(r'`make test ARGS="([^"]*) -q"`', run)
    modules = [module for command in commands for module in command.split()]
    assert run == "" or modules, "the row runs nothing"
    assert run != "" or edit.startswith("no code: ")
    assert [module for module in modules if not (places.PROJECT / module).is_file()] == []
    own = re.compile(r"[a-z]+/tests/(browser/)?test_\w+\.py")
    assert [module for module in modules if not own.fullmatch(module)] == []


@every_row
def test_a_row_that_runs_tests_says_how_long_they_take(change: str, edit: str, run: str, seconds: str):
    assert re.fullmatch(r"[1-9]\d*" if run else "", seconds)


def test_a_place_that_is_not_there_is_found():
    assert not _exists("orders/prices.py")
    assert not _exists("orders/pricing.py::split")
    assert not _exists("orders/pricing.py::split_discount.whole")
    assert not _exists("shop.http.pagination.SMALLEST_PAGE")
    assert _exists("orders/pricing.py::split_discount")
    assert _exists("shop.http.pagination.LARGEST_PAGE")
    assert _exists("orders/saga/definitions.py::SagaType.next_step")


def _places(edit: str) -> list[str]:
    """The paths, `path::symbol` and dotted symbols in a cell; modules that every app has are left out."""
    spans = set(re.findall(r"`([^`]+)`", edit))
    dotted = r"(?:shop|coupons|inventory|payments|orders|scripts)(?:\.\w+)+"
    return [
        span
        for span in sorted(spans - IN_EVERY_APP)
        if "/" in span
        or span.endswith((".py", ".md"))
        or span in BESIDE_THE_APPS
        or re.fullmatch(dotted, span)
    ]


def _exists(place: str) -> bool:
    """Whether the path exists and defines the symbol, if any; a dotted symbol is read as a path first."""
    path, _, symbol = place.partition("::")
    if "/" not in path and path not in BESIDE_THE_APPS:
        module, _, symbol = path.rpartition(".")
        path = f"{module.replace('.', '/')}.py"
    file = places.PROJECT / path
    if not symbol:
        return file.exists()
    return file.is_file() and symbol in _symbols(ast.parse(file.read_text()))


def _symbols(module: ast.AST, prefix: str = "") -> set[str]:
    """The names that the module defines, and `Class.name` for those of its classes."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= _symbols(node, f"{prefix}{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            found |= {prefix + name.id for name in names}
    return found


def _settings() -> set[str]:
    """The settings that `.env.example` names."""
    example = (places.PROJECT / ".env.example").read_text()
    return set(re.findall(r"^#?([A-Z_]+)=", example, flags=re.MULTILINE))
