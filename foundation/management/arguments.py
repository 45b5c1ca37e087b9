"""Types of management commands' arguments: numbers and instants are written as `foundation.literals` says."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import TypeVar

from foundation import literals

Value = TypeVar("Value")


def _argument(read: Callable[[str], Value]) -> Callable[[str], Value]:
    def argument(text: str) -> Value:
        try:
            return read(text)
        except literals.NotOfTheForm as error:
            raise ArgumentTypeError(f"{text!r} {error}") from None

    return argument


whole_number = _argument(literals.whole_number)
instant = _argument(literals.instant_in_utc)
