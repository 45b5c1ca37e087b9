"""Whether the tests of rules notice a condition that is turned: each of a rules module, one at a time.

`python -m scripts.turned_conditions [MODULE…]` negates each `if`, comparison, `and`, `or` and `not` of the
modules that pyproject.toml names in its contract of rules, runs `pytest -m rules` on each change in a process
of its own, and prints those that no test noticed. Exit code 1 for any that is not in `SURVIVORS`.
"""

import ast
import importlib
import os
import signal
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts import check
from scripts.stack import Words, places

# How the name of the contract begins that lists the modules of rules.
CONTRACT = "Rules know one another"
OF_A_COLUMN = "Without it the statements that read stock name a column that is none."
# Conditions that no test has to notice, by module and text, each with the reason.
SURVIVORS: dict[tuple[str, str], str] = {
    ("inventory.availability", " for field in fields(Stock) if field.name != 'newly_reserved'"): OF_A_COLUMN,
    ("inventory.availability", "field.name != 'newly_reserved'"): OF_A_COLUMN,
}
MOST_SURVIVORS = 10
# For the tests of rules, which take some seconds.
PATIENCE_SECONDS = 60
OPPOSITES = {ast.Eq: ast.NotEq, ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.Is: ast.IsNot, ast.In: ast.NotIn}
TURNED = OPPOSITES | {other: one for one, other in OPPOSITES.items()}


class Change(NamedTuple):
    """A condition that is turned: the module's whole tree with it, where it stands and how it reads."""

    tree: ast.Module
    line: int
    text: str


def modules() -> Words:
    project = tomllib.loads((places.PROJECT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    return [name for one in contracts if one["name"].startswith(CONTRACT) for name in one["source_modules"]]


def changes(source: str) -> Iterator[Change]:
    """The module once for each of its conditions, with that one turned; each tree up to the next one."""
    tree = ast.parse(source)
    for node in list(ast.walk(tree)):
        text = ast.unparse(node)[:90]
        for turned in _turned(node):
            usual = dict(vars(node))
            vars(node).update(turned)
            yield Change(ast.fix_missing_locations(tree), getattr(node, "lineno", 0), text)
            vars(node).update(usual)


def _turned(node: ast.AST) -> Iterator[dict[str, Any]]:
    """The fields of the node that are otherwise when one of its conditions is turned, for each of these."""
    match node:
        case ast.If() | ast.IfExp() | ast.While():
            yield {"test": _negated(node.test)}
        case ast.comprehension():
            for number, condition in enumerate(node.ifs):
                yield {"ifs": _with(node.ifs, number, _negated(condition))}
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                yield {"ops": _with(node.ops, number, TURNED[type(operator)]())}
        case ast.BoolOp(op=ast.Or()):
            yield {"op": ast.And()}
        case ast.BoolOp():
            yield {"op": ast.Or()}
        case ast.UnaryOp(op=ast.Not()):
            # `bool(x)` in place of `not x`.
            yield {"operand": _negated(node.operand)}


def _negated(condition: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), condition)


def _with(items: list[Any], number: int, new: object) -> list[Any]:
    return [*items[:number], new, *items[number + 1 :]]


def put_in_place(module: types.ModuleType, tree: ast.Module) -> None:
    """Give the functions of the module, which others have imported already, the code of the tree, and its
    dictionaries what they have there.
    """
    changed: dict[str, Any] = {"__name__": module.__name__, "__file__": module.__file__}
    exec(compile(tree, module.__file__ or "", "exec"), changed)  # noqa: S102 - our own module
    _take_codes(vars(module), changed, module.__name__)


def _take_codes(present: Any, changed: Any, name: str) -> None:
    for key, value in list(present.items()):
        other = changed.get(key)
        if other is None or key.startswith("__") or getattr(value, "__module__", name) != name:
            continue
        if isinstance(value, dict):
            value.clear()
            value.update(other)
        if isinstance(value, type):
            _take_codes(vars(value), vars(other), name)
        for function, its_change in _functions(value, other):
            function.__code__ = its_change.__code__
            function.__defaults__ = its_change.__defaults__


def _functions(value: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, property):
        value = value.fget
        other = other.fget
    value = getattr(value, "__func__", value)
    other = getattr(other, "__func__", other)
    value = getattr(value, "__wrapped__", value)
    other = getattr(other, "__wrapped__", other)
    if isinstance(value, types.FunctionType):
        yield value, other


def is_noticed(module: types.ModuleType, change: Change, tests: Words) -> bool:
    """Whether a test of rules fails with this change, in a process of its own."""
    child = os.fork()
    if child == 0:
        # A loop that never ends is noticed, too.
        signal.alarm(PATIENCE_SECONDS)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            put_in_place(module, change.tree)
        except Exception:
            # It can't be imported any more: its tests can't either.
            os._exit(1)
        os._exit(run(tests))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) != 0


def run(tests: Words) -> int:
    return int(pytest.main(["--noconftest", "-p", "no:cacheprovider", "-m", "rules", "-x", "-q", *tests]))


def main() -> int:
    os.environ.update(check.SETTINGS)
    tests = [str(folder) for folder in sorted(places.PROJECT.glob("*/tests/rules"))]
    if run(tests) != 0:
        print("The tests of rules fail without any change.")
        return 1
    unnoticed = 0
    kept = 0
    tried = 0
    for name in sys.argv[1:] or modules():
        module = importlib.import_module(name)
        own_tests = str(places.PROJECT / name.partition(".")[0] / "tests/rules")
        for change in changes(Path(module.__file__ or "").read_text()):
            tried += 1
            if is_noticed(module, change, [own_tests]) or is_noticed(module, change, tests):
                continue
            reason = SURVIVORS.get((name, change.text))
            kept += reason is not None
            unnoticed += reason is None
            print(
                f"{name}:{change.line}: nobody notices that this is turned: {change.text}",
                reason or "",
                flush=True,
            )
    print(f"{tried} conditions turned, {unnoticed} unnoticed, {kept} with a reason ({MOST_SURVIVORS} may be)")
    return 1 if unnoticed or kept > MOST_SURVIVORS else 0


if __name__ == "__main__":
    sys.exit(main())
