"""Small defects of functions: each replaces one node of a module's syntax tree."""

import ast
import difflib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from scripts.stack.places import PROJECT

PACKAGES = (
    *("coupons/issuing", "coupons/allocation", "coupons/redemption", "inventory/reservations"),
    *("orders/placement", "orders/payment", "orders/saga", "orders/pricing"),
    *("payments/ledger", "payments/payment_states", "shop/idempotency", "shop/db"),
)
"""The code that decides about coupons, stock, orders and money: packages, and modules without their `.py`."""
LEAST = 3
"""Mutants of each package, however short it is."""
_SWAPPED: Sequence[tuple[Any, Any]] = (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.In, ast.NotIn), (ast.Is, ast.IsNot)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.FloorDiv), (ast.And, ast.Or)),
)
SWAPPED = dict(_SWAPPED) | {other: one for one, other in _SWAPPED}
NEGATING = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
"""A swap of these is what a negated condition is."""
LOGGERS, LEVELS = ("log", "logger"), ("debug", "info", "warning", "error", "exception", "critical")
type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Mutant:
    """One defect. The key stays when other functions change; `place` is its number in the module of today."""

    package: str
    path: str
    key: str
    place: int
    lines: tuple[int, ...]

    @property
    def file(self) -> Path:
        return PROJECT / self.path

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True)
class _Replacement:
    function: ast.AST
    name: str
    kind: str
    old: ast.AST
    new: ast.AST


def draw(count: int, seed: int) -> list[Mutant]:
    """Mutants of all packages, each package's share by its lines. The same for the same seed and code."""
    sizes = {
        package: sum(len(_source(path).splitlines()) for path in _paths(package)) for package in PACKAGES
    }
    shares = {
        package: max(LEAST, round(count * size / sum(sizes.values()))) for package, size in sizes.items()
    }
    shares[max(sizes, key=sizes.__getitem__)] += count - sum(shares.values())
    drawn = []
    for package, share in shares.items():
        mutants = [mutant for path in _paths(package) for mutant in mutants_of(path, package)]
        mutants.sort(key=lambda one: digest(f"{seed} {one.key}"))
        fitting = (mutant for mutant in mutants if changed_codes(mutant))
        drawn += [mutant for mutant, _ in zip(fitting, range(share), strict=False)]
    return drawn


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def sources() -> dict[str, str]:
    """The modules of all packages: their text by their path."""
    return {path: _source(path) for package in PACKAGES for path in _paths(package)}


def _paths(package: str) -> list[str]:
    found = [PROJECT / f"{package}.py", *(PROJECT / package).rglob("*.py")]
    paths = [str(path.relative_to(PROJECT)) for path in found if path.is_file()]
    return sorted(path for path in paths if "/tests/" not in path)


def _source(path: str) -> str:
    return (PROJECT / path).read_text()


def mutants_of(path: str, package: str = "") -> list[Mutant]:
    """All of a module, in the order of its text."""
    seen: Counter[str] = Counter()
    found = []
    for place, one in enumerate(_replacements(ast.parse(_source(path)))):
        what = f"{path}::{one.name} {one.kind}"
        seen[what] += 1
        lines = tuple(range(one.old.lineno, (one.old.end_lineno or one.old.lineno) + 1))  # type: ignore[attr-defined]
        found.append(Mutant(package, path, f"{what} {seen[what]}", place, lines))
    return found


def function_and_diff(mutant: Mutant) -> tuple[str, str]:
    """The text of the function, and the lines of it that the mutant changes."""
    tree = ast.parse(_source(mutant.path))
    one = _replacements(tree)[mutant.place]
    before = ast.unparse(one.function)
    _Swap(one).visit(one.function)
    after = ast.unparse(one.function)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    return before, "\n".join(line for line in [*lines][2:] if not line.startswith("@@"))


def changed_codes(mutant: Mutant) -> list[tuple[CodeType, CodeType]]:
    """Each code object of the module that the mutant changes, with the one that takes its place.

    Empty where it can't: the text doesn't compile, or is the same to the interpreter, or a function that is
    there already would need other variables of the function around it.
    """
    tree = ast.parse(_source(mutant.path))
    _Swap(_replacements(tree)[mutant.place]).visit(tree)
    try:
        after = _codes(compile(ast.fix_missing_locations(tree), mutant.file, "exec", dont_inherit=True))
    except SyntaxError:
        return []
    before = _original(mutant.file)
    pairs = [(code, after[key]) for key, code in before.items() if key in after and code != after[key]]
    return pairs if all(old.co_freevars == new.co_freevars for old, new in pairs) else []


@cache
def _original(file: Path) -> dict[tuple[str, int, int], CodeType]:
    return _codes(compile(file.read_text(), file, "exec", dont_inherit=True))


def _codes(module: CodeType) -> dict[tuple[str, int, int], CodeType]:
    """The code of each function in it by its name and line, and a number for lambdas of one line."""
    found: dict[tuple[str, int, int], CodeType] = {}
    waiting = [module]
    while waiting:
        code = waiting.pop()
        same = sum(key[:2] == (code.co_qualname, code.co_firstlineno) for key in found)
        found[code.co_qualname, code.co_firstlineno, same] = code
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {
        key: code for key, code in found.items() if code.co_flags & 2
    }  # CO_NEWLOCALS: no class, no module


class _Swap(ast.NodeTransformer):
    def __init__(self, one: _Replacement) -> None:
        self.one = one

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self.one.new, node) if node is self.one.old else self.generic_visit(node)


def _replacements(tree: ast.Module) -> list[_Replacement]:
    return [
        _Replacement(function, name, kind, node, new)
        for name, function in _functions(tree.body)
        for node, inner in _nodes(function, function)
        for kind, new in _alternatives(node, inner)
    ]


def _functions(body: Sequence[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Functions of the module and methods of its classes. What is inside of them belongs to them."""
    for node in body:
        if isinstance(node, type_of_function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def _nodes(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """What may be changed in the node, each with the innermost function."""
    if _is_left_out(node):
        return
    yield node, function
    inner = node if isinstance(node, (*type_of_function, ast.Lambda)) else function
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child, inner)


def _is_left_out(node: ast.AST) -> bool:
    """Defaults, texts, `__repr__`, assertions (they narrow types) and log lines."""
    match node:
        case ast.arguments() | ast.Assert() | ast.JoinedStr() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=value):
            return _is_left_out(value)
        case ast.FunctionDef(name="__repr__"):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level)):
            return name in LOGGERS and level in LEVELS
    return False


def _alternatives(node: ast.AST, function: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            for place, op in enumerate(ops):
                swapped = [*ops[:place], SWAPPED[type(op)](), *ops[place + 1 :]]
                yield "comparison", ast.Compare(left=left, ops=swapped, comparators=others)
        case ast.BoolOp(op=op, values=values):
            yield "and-or", ast.BoolOp(op=SWAPPED[type(op)](), values=values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not", operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPPED:
            yield "arithmetic", ast.BinOp(left=left, op=SWAPPED[type(op)](), right=right)
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in SWAPPED:
            yield "arithmetic", ast.AugAssign(target=target, op=SWAPPED[type(op)](), value=value)
        case ast.Constant(value=bool() as value):
            yield "boolean", ast.Constant(value=not value)
        case ast.Constant(value=int() as number):
            yield "number", ast.Constant(value=number + 1)
            yield "number", ast.Constant(value=number - 1)
        case ast.Return(value=ast.expr() as value) if not _is_none(value) and not _is_none(
            _promised(function)
        ):
            yield "return", ast.Return(value=ast.Constant(value=None))
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield "call", ast.Pass()
        case ast.Raise():
            yield "raise", ast.Pass()
        case ast.If(test=test, body=body, orelse=orelse) if not _is_negated_elsewhere(test):
            yield "condition", ast.If(test=_negated(test), body=body, orelse=orelse)
        case ast.IfExp(test=test, body=one, orelse=other) if not _is_negated_elsewhere(test):
            yield "condition", ast.IfExp(test=_negated(test), body=one, orelse=other)


def _promised(function: ast.AST) -> ast.expr | None:
    """What the function says that it returns; None too where it says nothing."""
    return getattr(function, "returns", None)


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _negated(test: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(op=ast.Not(), operand=test), test)


def _is_negated_elsewhere(test: ast.expr) -> bool:
    match test:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[op]):
            return isinstance(op, NEGATING)
    return False
