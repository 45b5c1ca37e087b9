"""Querysets that are read many times a second, mostly for nothing: compiled once, which takes longer than the
database does.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from foundation.db import bulk_sql

Build = Callable[[datetime], "QuerySet[Any, Any]"]
MARK = datetime(2099, 12, 31, 23, 59, 59, 987654, UTC)
"""Stands for the instant while a queryset is compiled."""


def rows(build: Build, *, at: datetime) -> Sequence[tuple[Any, ...]]:
    """The rows of `build(at)`, a queryset of values, as the driver has them. It must be the same `build` each
    time, and what it makes must differ by nothing but the instant, and later ones that are counted from it.
    """
    statement, parameters = _compile(build)
    adapt = connection.ops.adapt_datetimefield_value
    own = [adapt(at + one) if isinstance(one, timedelta) else one for one in parameters]
    return bulk_sql.fetch(statement, own)


@lru_cache(maxsize=64)
def _compile(build: Build) -> tuple[str, tuple[Any, ...]]:
    statement, parameters = build(MARK).query.sql_with_params()
    return statement, tuple(map(_since_mark, parameters))


def _since_mark(parameter: Any) -> Any:
    """How long after the instant one that was counted from it is; any other parameter as it is."""
    with suppress(TypeError, ValueError):
        instant = datetime.fromisoformat(parameter).replace(tzinfo=UTC)
        return instant - MARK if instant >= MARK else parameter
    return parameter
