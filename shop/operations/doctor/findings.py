"""The result of one check of the doctor."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "danger"]


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
