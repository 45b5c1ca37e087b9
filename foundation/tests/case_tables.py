"""Many cases in one test, which names each case that fails.

    @in_one_test(("wrong", "field"), [({"price": -1}, "price"), ({"price": "1"}, "price")])
    def test_a_wrong_field_is_refused(staff, wrong, field): ...

For tables of data that one rule refuses or maps. The fixtures are made once for all cases; what a case writes
is undone before the next one in a test with `django_db`, and stays in one with `transaction=True`. Cases that
race, crash or need a fixture of their own are parameters of pytest.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import connection

from foundation.tests.rolled_back import rolled_back


def check_each(cases: Iterable[Any], check: Callable[..., object]):
    """Call `check` with each case, and fail with all that it failed for. A tuple is several arguments."""
    failed = []
    for case in cases:
        try:
            check(*(case if isinstance(case, tuple) else (case,)))
        # pytest.fail and a `pytest.raises` without an error are no exceptions of the usual kind.
        except (Exception, pytest.fail.Exception) as error:
            failed.append(f"{ascii(case)[:200]}: {type(error).__name__}: {error}")
    assert not failed, f"{len(failed)} cases:\n" + "\n\n".join(failed)


def in_one_test(
    names: str | Sequence[str], cases: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Call the test with each case, and fail once, with all offenders and what each broke.

    One name takes its cases as they are, several take tuples.
    """
    rows = [
        {names: case} if isinstance(names, str) else dict(zip(names, case, strict=True)) for case in cases
    ]
    assert rows, "no cases"

    def decorate(test):
        @functools.wraps(test)
        def test_of_all(**fixtures):
            def check(row):
                with rolled_back() if connection.in_atomic_block else nullcontext():
                    test(**fixtures, **row)

            check_each(rows, check)

        signature = inspect.signature(test)
        fixtures = [one for name, one in signature.parameters.items() if name not in rows[0]]
        test_of_all.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return test_of_all

    return decorate
