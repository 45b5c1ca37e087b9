"""No floats where money, stock or coupons are counted: floats are only for times."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import models

from scripts.stack import places
from shop.tests import openapi_document

APPS = ("coupons", "inventory", "orders", "payments", "sales")
# A float is allowed with one of these in a name of its statement, or of its function's signature.
TIMES = ("seconds", "_ms", "deadline", "until", "pause", "monotonic", "elapsed", "latency", "timeout")
# And with these names: times under other names, and gauges, whose values are always floats.
MOMENTS = {
    "coupons/metrics/state.py": {"read_running"},
    "inventory/mirror/healing.py": {"now", "long_ago", "drift", "found", "started_before"},
    "orders/metrics/state.py": {"read_in_doubt", "read_stock"},
    "orders/saga/backlog.py": {"_read_at"},
    "orders/saga/run.py": {"_busy_at", "ends_at"},
    "payments/gateways/measured.py": {"CALLS"},
    "payments/audit.py": {"stop_at"},
    "sales/metrics.py": {"read_running"},
    "sales/waiting_room/room_view.py": {"HELD_BACK", "at", "pace", "read_at"},
}
FLOATING = {"float", "round", "fsum", "Decimal", "Avg", "FloatField", "DecimalField", "StdDev", "Variance"}


def modules() -> Iterator[Path]:
    for app in APPS:
        for path in sorted((places.PROJECT / app).rglob("*.py")):
            if not {"tests", "migrations"} & set(path.parts):
                yield path


def floating(code: str, moments: set[str] = frozenset()) -> list[str]:
    """The statements that create or name a float, or divide into one, and contain no name of a time."""
    found = []
    for part in _parts(ast.parse(code)):
        names = {name for node in part for name in _names(node)}
        is_timed = any(word in name.lower() for name in names for word in TIMES) or names & moments
        if not is_timed and any(_is_floating(node) for node in part):
            found.append(ast.get_source_segment(code, part[0]) or ast.unparse(part[0]))
    return found


def _parts(tree: ast.AST) -> Iterator[list[ast.AST]]:
    """The nodes of each statement, without those of nested statements, which are parts of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield list(_own(node))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _own(child)


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.keyword(arg=str(name)):
            return [name]
    return []


def _is_floating(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()) | ast.Constant(value=float()):
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in FLOATING
    return False


def test_modules_use_floats_only_for_times() -> None:
    names = {str(path.relative_to(places.PROJECT)): path for path in modules()}
    found = {name: floating(path.read_text(), MOMENTS.get(name, set())) for name, path in names.items()}
    assert {name: statements for name, statements in found.items() if statements} == {}
    assert len(found) > 200
    assert names.keys() >= MOMENTS.keys()


def test_no_column_of_the_database_is_a_float() -> None:
    columns = [
        f"{model.__name__}.{field.name}"
        for app in (*APPS, "shop")
        for model in apps.get_app_config(app).get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.FloatField | models.DecimalField)
    ]
    assert columns == []


def test_the_api_accepts_and_returns_only_integers() -> None:
    kinds = list(_types(openapi_document.read()))
    assert kinds.count("integer") > 100
    assert "number" not in kinds


def _types(part: Any) -> Iterator[Any]:
    """Every `type` in the document, with the items of lists of types."""
    if isinstance(part, dict):
        kinds = part.get("type")
        yield from kinds if isinstance(kinds, list) else [kinds]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _types(inner)
