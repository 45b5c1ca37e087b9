"""A listener at the failpoints of sagas: it updates the model at every point, and may crash the executor."""

from collections.abc import Callable
from contextlib import contextmanager, suppress
from uuid import UUID

from orders.tests import stepping
from orders.tests.model import Shop
from orders.tests.things import Subject


class Killed(BaseException):
    """The crash of a process, as one thread sees it."""


class Wrong(BaseException):
    """An error that a listener finds; an `Exception` would count as a failed step and be retried."""


class Listener:
    """Records the points that sagas pass in `passed`, and calls `watch` at each."""

    def __init__(self):
        self.shop = Shop()
        self.watch: Callable[[], None] = lambda: None
        self.strike_in: int | None = None
        self.passed: set[str] = set()
        self._subject: Subject | None = None
        self._advance = stepping.advance

    def stand_by(self, monkeypatch):
        """Listen until the end of the test."""
        monkeypatch.setattr(stepping, "advance", self.advance)
        monkeypatch.setattr(stepping, "failpoint", self.reach)

    def advance(self, saga_id: UUID) -> str:
        """Replaces `stepping.advance`, and calls it."""
        known = {one.saga_id: one for one in self.shop.started}
        self._subject = known.get(saga_id)
        try:
            return self._advance(saga_id)
        except Wrong as wrong:
            raise AssertionError(str(wrong)) from wrong

    def reach(self, point: str):
        """Replaces the failpoint."""
        what, _, committed = point.partition(": ")
        try:
            assert self._subject, "this saga belongs to nothing known"
            for line in committed.split(", "):
                self.passed.add(line)
                self.shop.reach(self._subject, line)
            # An audit can't run within the batch's transaction.
            if what != "batch decided":
                self.watch()
        except AssertionError as error:
            raise Wrong(f"at {point}: {error}") from error
        if self.strike_in is not None:
            self.strike_in -= 1
            if self.strike_in < 0:
                raise Killed(point)

    @contextmanager
    def deadly(self, points: int | None):
        """Crash the executor inside after so many points; never for None."""
        self.strike_in = points
        try:
            with suppress(Killed):
                yield
        finally:
            self.strike_in = None
