"""Where sagas pass, a listener stands: it tells the model of every point, and may strike the driver dead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import pytest

from orders.tests import stepping
from orders.tests.model import Shop
from orders.tests.things import Subject


class Killed(BaseException):
    """The end of a process, as far as one thread can feel it."""


class Wrong(BaseException):
    """What a listener finds wrong; an `Exception` would pass for a step that failed, and be tried again."""


class Listener:
    """Hears which saga is driven and which points it passes, all `heard`; `watch` is called at each."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.watch: Callable[[], None] = lambda: None
        self.strike_in: int | None = None
        self.heard: set[str] = set()
        self._subject: Subject | None = None
        self._advance = stepping.advance

    def stand_by(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hear everything until the end of the test."""
        monkeypatch.setattr(stepping, "advance", self.advance)
        monkeypatch.setattr(stepping, "failpoint", self.reach)

    def advance(self, saga_id: UUID) -> str:
        """In the place of `stepping.advance`, which it calls."""
        known = {one.saga_id: one for one in self.shop.begun}
        self._subject = known.get(saga_id)
        try:
            return self._advance(saga_id)
        except Wrong as wrong:
            raise AssertionError(str(wrong)) from wrong

    def reach(self, point: str) -> None:
        """In the place of a failpoint."""
        what, _, committed = point.partition(": ")
        try:
            assert self._subject, "this saga belongs to nothing known"
            for one in committed.split(", "):
                self.heard.add(one)
                self.shop.reach(self._subject, one)
            # Within its transaction nothing can be audited.
            if what != "batch decided":
                self.watch()
        except AssertionError as error:
            raise Wrong(f"at {point}: {error}") from error
        if self.strike_in is not None:
            self.strike_in -= 1
            if self.strike_in < 0:
                raise Killed(point)

    @contextmanager
    def deadly(self, points: int | None) -> Iterator[None]:
        """Whoever drives inside dies after so many points; nobody for None."""
        self.strike_in = points
        try:
            with suppress(Killed):
                yield
        finally:
            self.strike_in = None
