"""What a scheduled audit checks: rows a chunk at a time, and which of them may have changed lately.

An audit by command checks whole tables, by a statement a check. A scheduled one gives the same checks a chunk
of rows each, so that every statement is short however long the tables are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Max, Model, Q, QuerySet

from shop.models import JournalLine
from shop.operations.audits.audit_report import LawReport

RowType = TypeVar("RowType", bound=Model)
Rows = Sequence[Any] | range
"""The primary keys of a chunk: a list, or a range with its first and last key."""
Check = Callable[[Rows | None], LawReport]
"""Checks a law for these rows, or for all rows."""
JOURNAL_LINES_AT_ONCE = 10_000
# A row's UUID is made before the row is inserted, by a host whose clock may be off.
UUID_SLACK = timedelta(minutes=1)


def is_ahead(at: datetime | None, *, now: datetime) -> bool:
    """Whether the instant was written before the database's clock was set back: it has not come yet."""
    return at is not None and at > now + UUID_SLACK


def within(name: str, rows: Rows | None) -> Q:
    """The condition that the field is one of the rows' keys; none for all rows."""
    if rows is None:
        return Q()
    if isinstance(rows, range):
        return Q(**{f"{name}__range": (rows[0], rows[-1])})
    return Q(**{f"{name}__in": rows})


def count(table: "QuerySet[Any]", rows: Rows | None) -> int:
    """How many rows a check looks at; of a range, how many there may be."""
    return table.count() if rows is None else len(rows)


@dataclass(frozen=True, slots=True)
class Mark:
    """The highest key of each table with counted keys, by the table's label, at an instant."""

    at: datetime
    keys: Mapping[str, int]


def place_mark(models: Iterable[type[Model]], *, at: datetime) -> Mark:
    """Read the tables' highest keys."""
    keys = {}
    for model in models:
        keys[model._meta.label] = model._default_manager.aggregate(last=Max("pk"))["last"] or 0
    return Mark(at, keys)


class Changes:
    """What was inserted, or changed with a line in the journal, since a mark."""

    def __init__(self, since: Mark) -> None:
        self.since = since
        self._subjects: Mapping[str, set[str]] | None = None

    def inserted(self, model: type[RowType]) -> "QuerySet[RowType]":
        """The rows that are new, by their keys, which increase in time."""
        key = self.since.keys.get(model._meta.label)
        after = lowest_uuid(self.since.at - UUID_SLACK) if key is None else key
        return model._default_manager.filter(pk__gt=after)

    def noted(self, kind: str) -> set[str]:
        """The ids of the subjects of this kind in the journal's new lines; for `order` those lines' too."""
        if self._subjects is None:
            self._subjects = self._read_subjects()
        return self._subjects.get(kind, set())

    def _read_subjects(self) -> Mapping[str, set[str]]:
        subjects: dict[str, set[str]] = {"order": set()}
        # New coupons are found by their keys: most lines are theirs.
        lines = self.inserted(JournalLine).exclude(what="coupon.issued").order_by("pk")
        for order_id, subject in read_in_pages(lines, "order_id", "subject", size=JOURNAL_LINES_AT_ONCE):
            if order_id is not None:
                subjects["order"].add(str(order_id))
            kind, _, name = subject.partition(" ")
            subjects.setdefault(kind, set()).add(name)
        return subjects


def lowest_uuid(at: datetime) -> UUID:
    """The least UUIDv7 of this millisecond."""
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of row that laws are about, and the checks that can look at some of its rows.

    `changed` returns the keys of the rows about which a law's answer may have changed. `checks` are the laws,
    each with its check. Chunks of a subject with `is_counted` keys are ranges, which cost the database less.
    """

    name: str
    rows: Callable[[], "QuerySet[Any]"]
    changed: Callable[[Changes], Iterable[Any]]
    checks: Sequence[tuple[str, Check]]
    size: int = 500
    is_counted: bool = False

    def next_chunk(self, after: Any) -> Rows:
        """The chunk of all rows that follows a key, or the first one; empty at the end."""
        rows = self.rows().order_by("pk")
        if after is not None:
            rows = rows.filter(pk__gt=after)
        keys = list(rows.values_list("pk", flat=True)[: self.size])
        return range(keys[0], keys[-1] + 1) if keys and self.is_counted else [*map(plain_key, keys)]

    def changed_chunks(self, changes: Changes) -> Iterator[Rows]:
        """The chunks of the rows that may have changed."""
        keys = sorted({plain_key(key) for key in self.changed(changes)})
        for start in range(0, len(keys), self.size):
            part = keys[start : start + self.size]
            is_dense = self.is_counted and part[-1] - part[0] < 2 * self.size
            yield range(part[0], part[-1] + 1) if is_dense else part


@dataclass(frozen=True, slots=True)
class WholeCheck:
    """A check of all rows: in each audit, or not in the frequent ones, or not in the full ones."""

    law: str
    check: Callable[[], LawReport]
    is_frequent: bool = True
    is_in_full: bool = True

    @property
    def name(self) -> str:
        return f"all of {self.law}"


def plain_key(key: Any) -> Any:
    """The key as JSON can keep it."""
    return str(key) if isinstance(key, UUID) else key


def read_in_pages(rows: "QuerySet[Any]", *names: str, size: int) -> Iterator[tuple[Any, ...]]:
    """The values of the rows, by short statements in the order of their keys."""
    page = list(rows.order_by("pk").values_list("pk", *names)[:size])
    while page:
        yield from (values[1:] for values in page)
        page = list(rows.filter(pk__gt=page[-1][0]).order_by("pk").values_list("pk", *names)[:size])
