"""Many cases of one test: each is tried, and those that fail are reported together."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def check_each(cases: Iterable[Any], check: Callable[..., object]) -> None:
    """Call `check` with each case, and fail with all that it failed for. A tuple is several arguments."""
    failed = []
    for case in cases:
        try:
            check(*(case if isinstance(case, tuple) else (case,)))
        # pytest.fail and a `pytest.raises` without an error are no exceptions of the usual kind.
        except (Exception, pytest.fail.Exception) as error:
            failed.append(f"{ascii(case)[:200]}: {type(error).__name__}: {error}")
    assert not failed, f"{len(failed)} cases:\n" + "\n\n".join(failed)
