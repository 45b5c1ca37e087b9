"""Which statements Vitess and TiDB refuse, or execute otherwise than MySQL does: a lint by sqlglot.

Each rule is a limit that the project documents, with the page that says so. A rule that two statements break
is one finding, with the tables of both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import expressions
from sqlglot.expressions import Expr as Expression

from scripts.scale.statements.shards import SHARDED, families_of, family_of, keys_of

VITESS = "https://vitess.io/docs/24.0/"
VITESS_LIST = (
    "https://github.com/vitessio/vitess/blob/main/go/vt/vtgate/planbuilder/testdata/unsupported_cases.json"
)
VITESS_20 = "https://github.com/vitessio/vitess/blob/main/changelog/20.0/20.0.0/summary.md"
VITESS_COMPATIBILITY = f"{VITESS}reference/compatibility/mysql-compatibility/"
TIDB = "https://docs.pingcap.com/tidb/stable/"
TIDB_LOCKS = f"{TIDB}pessimistic-transaction#differences-from-mysql-innodb"
WRITES = (expressions.Insert, expressions.Update, expressions.Delete)
RANGES = (expressions.GT, expressions.GTE, expressions.LT, expressions.LTE, expressions.Between)
SERVER_STATE = ("information_schema", "performance_schema", "sys", "mysql")


@dataclass(frozen=True)
class Rule:
    """A limit: what it is about, what each engine does, and what it would take. `applies` returns the tables
    of a statement that breaks it; none if it doesn't."""

    name: str
    vitess: str
    tidb: str
    takes: str
    applies: Callable[[Expression], Iterable[str]]


class Unparsed(Exception):
    """sqlglot can't read the statement."""


def parse(statement: str) -> Expression | None:
    """The statement as a tree; None for what names no table (savepoints, session variables).

    Raises Unparsed.
    """
    if statement.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK", "SET ", "DO ", "KILL")):
        return None
    # MariaDB's spelling of a shared lock with SKIP LOCKED, which MySQL writes FOR SHARE.
    text = statement.replace("LOCK IN SHARE MODE SKIP LOCKED", "FOR SHARE SKIP LOCKED")
    try:
        found = sqlglot.parse_one(text, dialect="mysql")
    except sqlglot.errors.SqlglotError as error:
        raise Unparsed(f"{statement[:200]}: {error}") from error
    return found


def tables_of(tree: Expression) -> set[str]:
    """The names of all tables in the statement, also in its subqueries."""
    return {table.name for table in tree.find_all(expressions.Table) if table.name}


def locked_tables(lock: Expression) -> Iterator[str]:
    """The tables whose rows a locking clause locks."""
    return _own_tables(lock.parent) if lock.parent is not None else iter(())


def _skip_locked(tree: Expression) -> Iterator[str]:
    for lock in tree.find_all(expressions.Lock):
        # sqlglot: `wait` is False for SKIP LOCKED, True for NOWAIT, else nothing or the seconds.
        if lock.args.get("wait") is False:
            yield from locked_tables(lock)


def _shared_lock(tree: Expression) -> Iterator[str]:
    for lock in tree.find_all(expressions.Lock):
        if not lock.args.get("update"):
            yield from locked_tables(lock)


def _embedded_lock(tree: Expression) -> Iterator[str]:
    for lock in tree.find_all(expressions.Lock):
        if lock.parent is not tree:
            yield from locked_tables(lock)


def _range_lock(tree: Expression) -> Iterator[str]:
    for lock in tree.find_all(expressions.Lock):
        where = lock.parent.args.get("where") if lock.parent else None
        if where is not None and where.find(*RANGES):
            yield from locked_tables(lock)


def _server_state(tree: Expression) -> Iterator[str]:
    for table in tree.find_all(expressions.Table):
        if table.db.lower() in SERVER_STATE:
            yield f"{table.db}.{table.name}".lower()
    if isinstance(tree, expressions.Show):
        yield f"SHOW {tree.name}"
    elif isinstance(tree, expressions.Command) and tree.name.upper() in ("SHOW", "KILL"):
        yield tree.name.upper()


def _insert_without_key(tree: Expression) -> Iterator[str]:
    if not isinstance(tree, expressions.Insert):
        return
    target = tree.find(expressions.Table)
    schema = tree.this
    if target is None or family_of(target.name) not in SHARDED or not isinstance(schema, expressions.Schema):
        return
    columns = {column.name for column in schema.expressions}
    if not columns.intersection(keys_of(target.name)):
        yield target.name


def _write_on_all_shards(tree: Expression) -> Iterator[str]:
    if isinstance(tree, expressions.Update | expressions.Delete):
        yield from _unbound(tree, _own_tables(tree))


def _lock_on_all_shards(tree: Expression) -> Iterator[str]:
    for lock in tree.find_all(expressions.Lock):
        if lock.parent is not None:
            yield from _unbound(lock.parent, locked_tables(lock))


def _limited_write(tree: Expression) -> Iterator[str]:
    if isinstance(tree, expressions.Update | expressions.Delete) and tree.args.get("limit"):
        yield from _unbound(tree, _own_tables(tree))


def _write_over_families(tree: Expression) -> Iterator[str]:
    if isinstance(tree, WRITES) and len(families_of(tables_of(tree))) > 1:
        yield from tables_of(tree)


def _read_over_families(tree: Expression) -> Iterator[str]:
    if not isinstance(tree, WRITES) and len(families_of(tables_of(tree))) > 1:
        yield from (table for table in tables_of(tree) if family_of(table) in SHARDED)


def _read_on_all_shards(tree: Expression) -> Iterator[str]:
    if isinstance(tree, WRITES) or tree.find(expressions.Lock):
        return
    for select in tree.find_all(expressions.Select):
        yield from _unbound(select, _own_tables(select))


def _window(tree: Expression) -> Iterator[str]:
    if tree.find(expressions.Window):
        yield from tables_of(tree)


def _recursive(tree: Expression) -> Iterator[str]:
    if any(found.args.get("recursive") for found in tree.find_all(expressions.With)):
        yield from tables_of(tree)


def _own_tables(select: Expression) -> Iterator[str]:
    """The tables of this statement or subquery, without those of subqueries inside it."""
    for table in select.find_all(expressions.Table):
        inner = table.find_ancestor(expressions.Select, expressions.Update, expressions.Delete)
        if inner is select and table.name:
            yield table.name


def _unbound(tree: Expression, tables: Iterable[str]) -> Iterator[str]:
    """The sharded tables of which the conditions name no shard: no key `=` or `IN`, also not by a join."""
    bound = _bound_columns(tree)
    for table in tables:
        if family_of(table) in SHARDED and not bound.intersection(keys_of(table)):
            yield table


def _bound_columns(tree: Expression) -> set[str]:
    """The columns that a condition compares by `=` or `IN`; those under OR or NOT count as well, rarely."""
    equal = [side for found in tree.find_all(expressions.EQ) for side in (found.left, found.right)]
    equal += [found.this for found in tree.find_all(expressions.In)]
    return {column.name for column in equal if isinstance(column, expressions.Column)}


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "`FOR UPDATE SKIP LOCKED`",
            "passed to the shards [since 19](https://github.com/vitessio/vitess/issues/5249)",
            "**not locked, without an error** in released versions "
            "([18207](https://github.com/pingcap/tidb/issues/18207), "
            "[69720](https://github.com/pingcap/tidb/issues/69720))",
            "`NOWAIT` a row at a time, or leases alone: they are already what decides",
            _skip_locked,
        ),
        Rule(
            "`FOR UPDATE` inside a derived table",
            "as MySQL, where all of the statement goes to one shard",
            f"**not locked** ([difference 6]({TIDB_LOCKS}))",
            "two statements: lock the campaign's row, then read the coupons",
            _embedded_lock,
        ),
        Rule(
            "`FOR SHARE`, `LOCK IN SHARE MODE`",
            "as MySQL",
            "an error; by `tidb_enable_noop_functions` no lock, by `tidb_enable_shared_lock_promotion` an "
            f"exclusive one ([difference 2]({TIDB_LOCKS}))",
            "not to look for locked rows: `shop/db/stuck_rows.py` alone does",
            _shared_lock,
        ),
        Rule(
            "`FOR UPDATE` of a range",
            "as MySQL, on each shard by itself",
            f"rows alone, no gaps ([difference 1]({TIDB_LOCKS}))",
            "nothing: READ COMMITTED locks no gaps on MySQL either",
            _range_lock,
        ),
        Rule(
            "state of the server",
            "answered by one shard, or by VTGate for its own connections",
            f"InnoDB's tables are empty or missing ([compatibility]({TIDB}mysql-compatibility))",
            "`doctor`, the watch of stuck rows and the connections' ping ask each shard, or are switched off",
            _server_state,
        ),
        Rule(
            "INSERT without a sharding key",
            "refused, unless VTGate fills the key from a "
            f"[sequence]({VITESS}reference/features/vitess-sequences/)",
            "no limit",
            "sequences for the ids of accounts, campaigns and products",
            _insert_without_key,
        ),
        Rule(
            "UPDATE or DELETE on all shards",
            f"sent to each; its transaction commits shard by shard, or in two phases "
            f"([distributed transactions]({VITESS}reference/features/distributed-transaction/))",
            "no limit",
            "the key in the condition, or a sweep for each shard",
            _write_on_all_shards,
        ),
        Rule(
            "UPDATE or DELETE with LIMIT on all shards",
            f"[since 20]({VITESS_20}#update-limit): VTGate reads the rows first, then writes them by key",
            "no limit",
            "a sweep for each shard",
            _limited_write,
        ),
        Rule(
            "`FOR UPDATE` on all shards",
            "locks on every shard, released shard by shard",
            "no limit",
            "the key in the condition: a coupon's code, an order's id that carry their shard",
            _lock_on_all_shards,
        ),
        Rule(
            "write over several families",
            f"[since 20]({VITESS_20}#delete-subquery): VTGate reads first, then writes by key; refused with "
            f"`WITH`, or where a subquery other than `EXISTS` is correlated ([list]({VITESS_LIST}))",
            "no limit",
            "a read first, then a write of known rows",
            _write_over_families,
        ),
        Rule(
            "join or subquery over several families",
            f"joined by VTGate, row by row; refused where a subquery other than `EXISTS` is correlated "
            f"([list]({VITESS_LIST}))",
            "no limit",
            "two reads, or the columns that lists show kept with the row",
            _read_over_families,
        ),
        Rule(
            "read on all shards",
            "gathered by VTGate: the time of the slowest shard",
            "no limit",
            "lists and audits for each shard, or from an index that the journal feeds",
            _read_on_all_shards,
        ),
        Rule(
            "window function",
            "over shards only where `PARTITION BY` has the sharding key "
            "([since 24](https://github.com/vitessio/vitess/pull/18903))",
            "supported",
            "computed by the caller, or for each shard",
            _window,
        ),
        Rule(
            "recursive common table expression",
            f"experimental ([compatibility]({VITESS_COMPATIBILITY}))",
            "supported",
            "a loop of the caller's",
            _recursive,
        ),
    )
}
