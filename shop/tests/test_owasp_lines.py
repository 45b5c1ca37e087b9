"""The table of OWASP's risks in docs/security.md names tests that exist, for each of the ten."""

import ast
import re

from shop.tests import operators_page

HEADING = "OWASP API Security Top 10 (2023)"
TEST = re.compile(r"([\w/]+\.py)::(\w+)")


def test_every_risk_has_a_line_whose_tests_exist() -> None:
    lines = operators_page.column(HEADING, "test", page=operators_page.SECURITY)

    assert [risk.partition(" ")[0] for risk in lines] == [f"API{number}" for number in range(1, 11)]
    for risk, cell in lines.items():
        named = TEST.findall(cell)
        assert len(named) == len(cell.split()), (risk, cell)
        assert [name for name in named if not _exists(*name)] == [], risk


def _exists(path: str, name: str) -> bool:
    module = operators_page.DOCS.parent / path
    tree = ast.parse(module.read_text()) if module.is_file() else ast.Module([], [])
    return any(isinstance(one, ast.FunctionDef) and one.name == name for one in tree.body)
