"""What the laws, which are invariants, are checked by: a report of each, and the rows that a check looks at.

An audit by command checks whole tables, by a statement a check. A scheduled one gives the same checks a chunk
of rows each, so that every statement is short however long the tables are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Manager, Q, QuerySet

OFFENDERS_REPORTED = 100
"""Per check, so that a report stays readable when a million rows break a law."""
CLOCK_SLACK = timedelta(minutes=1)
Rows = Sequence[Any] | range
"""The primary keys of a chunk: a list, or a range with its first and last key."""
Chosen = Rows | None
"""The rows that a check looks at; None for all."""


class NotChecked(Exception):
    """A law can't be checked now; the text says why. It is neither held nor broken by that."""


@dataclass(frozen=True)
class LawReport:
    """Whether a law holds for all `checked` objects, and the ids of those that break it."""

    law: str
    holds: bool
    checked: int
    offenders: list[str]


def report(law: str, checked: int, offenders: Iterable[object]) -> LawReport:
    """The report of one law, which holds when there are no offenders."""
    named = [str(offender) for offender in offenders]
    return LawReport(law=law, holds=not named, checked=checked, offenders=named)


def merge_reports(reports: Iterable[LawReport]) -> list[LawReport]:
    """One report per law, in the laws' order: several apps may each check a part of a law."""
    by_law: dict[str, list[LawReport]] = defaultdict(list)
    for report in reports:
        by_law[report.law].append(report)
    return [
        LawReport(
            law=law,
            holds=all(report.holds for report in parts),
            checked=sum(report.checked for report in parts),
            offenders=[offender for report in parts for offender in report.offenders],
        )
        for law, parts in sorted(by_law.items(), key=lambda item: int(item[0].removeprefix("L")))
    ]


Check = Callable[[Chosen], LawReport]
"""Checks a law for these rows, or for all rows."""


def is_ahead(at: datetime | None, *, now: datetime) -> bool:
    """Whether the instant was written before the database's clock was set back: it has not come yet."""
    return at is not None and at > now + CLOCK_SLACK


def within(name: str, rows: Chosen) -> Q:
    """The condition that the field is one of the rows' keys; none for all rows."""
    if rows is None:
        return Q()
    if isinstance(rows, range):
        return Q(**{f"{name}__range": (rows[0], rows[-1])})
    return Q(**{f"{name}__in": rows})


def count(table: "QuerySet[Any] | Manager[Any]", rows: Chosen) -> int:
    """How many rows a check looks at; of a range, how many there may be."""
    return table.count() if rows is None else len(rows)


def offenders_of(rows: "QuerySet[Any, Any]", column: str = "pk", *, kind: str = "") -> list[str]:
    """As many of the rows as are reported, by their values of a column, behind the kind if one is given."""
    return [f"{kind} {value}".strip() for value in rows.values_list(column, flat=True)[:OFFENDERS_REPORTED]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of row that laws are about, and the checks that can look at some of its rows.

    `checks` are the laws, each with its check. Chunks of a subject with `is_counted` keys are ranges, which
    cost the database less. `current` returns the keys of rows that each audit checks, besides new ones.
    """

    name: str
    rows: Callable[[], "QuerySet[Any]"]
    checks: Sequence[tuple[str, Check]]
    size: int = 500
    is_counted: bool = False
    current: Callable[[], Iterable[Any]] = tuple

    def chunks(self, after: Any = None) -> Iterator[Rows]:
        """The chunks of all rows, or of those whose keys follow this one."""
        rows = self.rows().order_by("pk")
        while True:
            following = rows if after is None else rows.filter(pk__gt=after)
            keys = list(following.values_list("pk", flat=True)[: self.size])
            if keys:
                after = keys[-1]
                yield range(keys[0], after + 1) if self.is_counted else [*map(_plain, keys)]
            if len(keys) < self.size:
                return

    def last_key(self) -> Any:
        """The key of the newest row; None without rows."""
        return _plain(self.rows().order_by("-pk").values_list("pk", flat=True).first())

    def current_chunks(self) -> Iterator[Rows]:
        keys = sorted(map(_plain, self.current()))
        yield from (keys[start : start + self.size] for start in range(0, len(keys), self.size))


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

    @property
    def checks(self) -> Sequence[tuple[str, Check]]:
        return ((self.law, lambda rows: self.check()),)


def _plain(key: Any) -> Any:
    """The key as JSON can keep it."""
    return str(key) if isinstance(key, UUID) else key
