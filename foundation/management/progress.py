"""The progress of management commands."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CLEAR_LINE = "\r\033[K"


@contextmanager
def progress_bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A line on the error stream, if that is a terminal; the yielded function advances it."""
    is_shown = sys.stderr.isatty()
    done = 0

    def advance(number: int) -> None:
        nonlocal done
        done += number
        if is_shown:
            print(f"{CLEAR_LINE}{name}: {done:,} of {total:,}", end="", file=sys.stderr, flush=True)

    try:
        yield advance
    finally:
        if is_shown:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
