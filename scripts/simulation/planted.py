"""Planted defects, each of which the simulation has to find: `make simulate PLANTED=early-reply`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from orders import tasks
from scripts.simulation.outside import Gateway

is_early = False
"""Whether a COMMIT that is lost counts as done: the answer was given before it."""


@contextmanager
def _early_reply() -> Iterator[None]:
    global is_early
    is_early = True
    try:
        yield
    finally:
        is_early = False


@contextmanager
def _new_charge_keys() -> Iterator[None]:
    """Each attempt to charge a card has a key of its own."""
    usual, numbers = Gateway.charge, count()

    def charge(gateway: Gateway, *, key: str, **of: Any) -> Any:
        return usual(gateway, key=f"{key}-{next(numbers)}", **of)

    with _replaced(Gateway, "charge", charge):
        yield


@contextmanager
def _no_recovery() -> Iterator[None]:
    """Beat finds no sagas that a crash, or a lost message, left behind."""
    with _replaced(tasks.advance_due, "run", lambda: 0):
        yield


@contextmanager
def _replaced(of: Any, name: str, by: Callable[..., Any]) -> Iterator[None]:
    usual = getattr(of, name)
    setattr(of, name, by)
    try:
        yield
    finally:
        setattr(of, name, usual)


DEFECTS = {"early-reply": _early_reply, "new-charge-keys": _new_charge_keys, "no-recovery": _no_recovery}
