"""The tables of attackers and of OWASP's risks in docs/security.md name tests that exist."""

import ast
import re

from shop.tests import operators_page

RISKS, THREATS = "OWASP API Security Top 10 (2023)", "Threat model"
TEST = re.compile(r"([\w/]+\.py)::((?:Test\w+::)?\w+)")


def test_every_risk_has_a_line_whose_tests_exist() -> None:
    lines = operators_page.column(RISKS, "test", page=operators_page.SECURITY)

    assert [risk.partition(" ")[0] for risk in lines] == [f"API{number}" for number in range(1, 11)]
    _assert_tests_exist(lines)


def test_every_attack_has_a_line_whose_tests_exist() -> None:
    _assert_tests_exist(operators_page.column(THREATS, "test", page=operators_page.SECURITY))


def _assert_tests_exist(lines: dict[str, str]) -> None:
    for line, cell in lines.items():
        named = TEST.findall(cell)
        assert len(named) == len(cell.split()) > 0, (line, cell)
        assert [name for name in named if not _exists(*name)] == [], line


def _exists(path: str, name: str) -> bool:
    module = operators_page.DOCS.parent / path
    tree = ast.parse(module.read_text()) if module.is_file() else ast.Module([], [])
    kind, _, function = name.rpartition("::")
    kinds = {part.name: part.body for part in tree.body if isinstance(part, ast.ClassDef)}
    body = kinds.get(kind, []) if kind else tree.body
    return any(isinstance(one, ast.FunctionDef) and one.name == function for one in body)
