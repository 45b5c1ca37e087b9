"""The result of one check of the doctor, and rows of a table of checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "danger"]
Row = tuple[str, object, bool, Level, str]
"""A check, what was found, whether that is wrong, how severe that would be, and what to do then."""


@dataclass(frozen=True)
class Finding:
    """What was found, how severe it is, and what to do. `danger` breaks a promise, `warning` weakens one."""

    check: str
    level: Level
    found: str
    advice: str = ""


def ok(check: str, found: object) -> Finding:
    return Finding(check, "ok", str(found))


def warning(check: str, found: object, advice: str) -> Finding:
    return Finding(check, "warning", str(found), advice)


def danger(check: str, found: object, advice: str) -> Finding:
    return Finding(check, "danger", str(found), advice)


def judge(check: str, found: object, is_wrong: bool, level: Level, advice: str) -> Finding:
    """The finding of one row."""
    return Finding(check, level, str(found), advice) if is_wrong else ok(check, found)


def judge_all(rows: Iterable[Row]) -> list[Finding]:
    """The finding of each row."""
    return [judge(*row) for row in rows]
