"""Many cases in one test: each is tried, and all that fail are named together."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest

Test = Callable[..., None]


def every_case(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, in one test, whose fixtures are made once: no case may change them."""
    taken = (names,) if isinstance(names, str) else names

    def decorate(test: Test) -> Test:
        def tried(**fixtures: Any) -> None:
            failed = []
            for case in cases:
                values = (case,) if len(taken) == 1 else case
                try:
                    test(**dict(zip(taken, values, strict=True)), **fixtures)
                except (Exception, pytest.fail.Exception) as error:
                    failed.append(f"{case!r}: {error or error!r}")
            assert not failed, "\n".join(failed)

        signature = inspect.signature(test)
        own = [one for name, one in signature.parameters.items() if name not in taken]
        tried.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            setattr(tried, name, getattr(test, name))
        if hasattr(test, "pytestmark"):
            tried.pytestmark = test.pytestmark  # type: ignore[attr-defined]
        return tried

    return decorate
