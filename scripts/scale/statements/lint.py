"""What the rules find in recorded statements, and the transactions that would span shards."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.scale.statements import rules, schema
from scripts.scale.statements.shards import SHARDED, family_of

Findings = Mapping[str, list[str]]
"""By the name of the rule: the tables of the statements that break it."""


@dataclass(frozen=True)
class Recorded:
    """What `scripts.scale.statements.recording` wrote."""

    statements: list[str]
    transactions: list[list[str]]


def read(file: Path) -> Recorded:
    content = json.loads(file.read_text())
    return Recorded(content["statements"], content["transactions"])


def findings(statements: Iterable[str]) -> Findings:
    """The rules that these statements break, each with the tables, in the order of the rules."""
    found: dict[str, set[str]] = defaultdict(set)
    for statement in statements:
        tree = rules.parse(statement)
        if tree is not None:
            for rule in rules.RULES.values():
                found[rule.name].update(rule.applies(tree))
    return {name: sorted(found[name]) for name in rules.RULES if found[name]}


def transactions(recorded: Recorded) -> list[tuple[str, list[str]]]:
    """The families that transactions write or lock together, each with the tables; those of one are fine."""
    found: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for statements in recorded.transactions:
        tables = {table for statement in statements for table in _changed(statement)}
        sharded = {table for table in tables if family_of(table) in SHARDED}
        names = tuple(sorted({family_of(table).value for table in sharded}))
        if len(names) > 1:
            found[names].update(sharded)
    return [(" and ".join(names), sorted(tables)) for names, tables in sorted(found.items())]


def _changed(statement: str) -> Iterator[str]:
    """The tables that the statement writes or locks."""
    tree = rules.parse(statement)
    if tree is None:
        return
    if isinstance(tree, rules.WRITES):
        target = tree.find(rules.expressions.Table)
        if target is not None:
            yield target.name
    for lock in tree.find_all(rules.expressions.Lock):
        yield from rules.locked_tables(lock)


def unenforced() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Foreign keys and unique values that a shard can't hold by itself."""
    return sorted(set(schema.foreign_keys())), sorted(set(schema.unique_values()))
