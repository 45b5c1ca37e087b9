"""Named checks: each is run, timed and printed as ok or FAIL, and the failed ones decide the exit code."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.stack import SetupError

INDENT = "\n            "


class CheckFailed(SetupError):
    """What a check found otherwise than it is promised."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One check that was run."""

    name: str
    seconds: float
    failure: str = ""


@dataclass
class Report:
    """The checks so far."""

    results: list[Result] = field(default_factory=list)

    def check(self, name: str, act: Callable[[], str | None]) -> bool:
        """Run the check, and print its line with what it returns; False when it raised that it failed."""
        started, failure, detail = time.monotonic(), "", ""
        try:
            detail = act() or ""
        except (SetupError, OSError) as error:
            failure = str(error) or repr(error)
        seconds = time.monotonic() - started
        self.results.append(Result(name=name, seconds=seconds, failure=failure))
        what = failure or detail
        word = "FAIL" if failure else "ok"
        say(f"{word:4} {seconds:6.1f} s  {name}{': ' if what else ''}{what.replace(chr(10), INDENT)}")
        return not failure

    def failures(self) -> list[Result]:
        return [one for one in self.results if one.failure]


def require(is_so: bool, otherwise: str) -> None:
    """Raise CheckFailed with the words unless it is so."""
    if not is_so:
        raise CheckFailed(otherwise)


def say(text: str) -> None:
    print(text, flush=True)
