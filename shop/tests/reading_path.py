"""The modules that a reader opens to follow a request, counted while it runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from scripts.stack import places

NO_STEPS = ("<module>", "run_blocking")
"""Importing, and what stands in a test for the event loop."""


class ReadingPath:
    """The modules that calls enter, and the calls that lead back into a module that has not returned yet."""

    def __init__(self) -> None:
        self.modules: dict[str, None] = {}
        self.back: set[tuple[str, str]] = set()
        self._stack: list[str | None] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            module = _module(frame)
            callers = [name for name in self._stack if name]
            if module and (not callers or callers[-1] != module):
                self.modules.setdefault(module)
                if module in callers:
                    self.back.add((callers[-1], module))
            self._stack.append(module)
        elif event == "return" and self._stack:
            self._stack.pop()


def _module(frame: FrameType) -> str | None:
    path = frame.f_code.co_filename
    project = f"{places.PROJECT}/"
    if not path.startswith(project) or "/tests/" in path or frame.f_code.co_name in NO_STEPS:
        return None
    name = path.removeprefix(project)
    return name if name.split("/")[0] in places.APPS else None


@contextmanager
def following() -> Iterator[ReadingPath]:
    """Follow the calls of the block, in this thread."""
    path = ReadingPath()
    sys.setprofile(path)
    try:
        yield path
    finally:
        sys.setprofile(None)
