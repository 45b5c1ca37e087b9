"""Who asks, how many at once and for how long, in k6's words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FINISH_SECONDS = 170
"""What callers get to hear the end of what they began: longer than their patience and one more request. Who
were cut short might have a coupon that nobody counted."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The k6 scenarios, `seconds` how long they last at about, and the accounts and coupons there are."""

    executors: Mapping[str, Mapping[str, Any]]
    seconds: int
    accounts: int
    quantity: int
    pause: float = 0
    sells_out: bool = False
    """Whether more ask than there are, and everybody long enough: then none may be left."""
    vus: Sequence[int] = field(default=())
    """Of each step, where there are several."""


def at_once(callers: int, *, quantity: int, seconds: int = 10) -> Load:
    """Everybody asks in the same moment, once."""
    executor = _executor("per-vu-iterations", vus=callers, iterations=1, maxDuration=f"{FINISH_SECONDS}s")
    return _alone(executor, seconds=seconds, accounts=callers, quantity=quantity, sells_out=True)


def paced(vus: int, *, each: int, pause: float) -> Load:
    """So many callers ask so often each, and rest in between."""
    most = f"{each * 10 + FINISH_SECONDS}s"
    executor = {"executor": "per-vu-iterations", "vus": vus, "iterations": each, "maxDuration": most}
    asked = vus * each
    return _alone(executor, seconds=round(each * (pause + 0.2)), accounts=asked, quantity=asked, pause=pause)


def constant(vus: int, seconds: int, *, accounts: int, quantity: int, pause: float = 0) -> Load:
    """So many callers ask again and again, each time as another account."""
    executor = _executor("constant-vus", vus=vus, duration=f"{seconds}s")
    return _alone(executor, seconds=seconds, accounts=accounts, quantity=quantity, pause=pause)


def until_all_asked(vus: int, seconds: int, *, accounts: int) -> Load:
    """The same, to the end of the time or of the accounts: for what an account can do only once."""
    executor = _executor("shared-iterations", vus=vus, iterations=accounts, maxDuration=f"{seconds}s")
    return _alone(executor, seconds=seconds, accounts=accounts, quantity=accounts)


def crowd(vus: int, *, ramp: int, hold: int, accounts: int, quantity: int, pause: float) -> Load:
    """The callers come one after the other, and then stay."""
    stages = [{"duration": f"{seconds}s", "target": vus} for seconds in (ramp, hold)]
    executor = _executor("ramping-vus", startVUs=0, stages=stages)
    return _alone(executor, seconds=ramp + hold, accounts=accounts, quantity=quantity, pause=pause)


def steps(vus: Sequence[int], seconds: int, *, accounts: int, quantity: int) -> Load:
    """More and more callers; each step has accounts of its own, and a name to be told apart by."""
    each = accounts // len(vus)
    executors = {
        f"vus_{number}": _executor("constant-vus", vus=number, duration=f"{seconds}s")
        | {"startTime": f"{index * seconds}s", "env": {"FIRST": str(index * each)}}
        for index, number in enumerate(vus)
    }
    whole = seconds * len(vus)
    return Load(executors=executors, seconds=whole, accounts=accounts, quantity=quantity, vus=vus)


def _executor(kind: str, **words: Any) -> dict[str, Any]:
    return {"executor": kind, **words, "gracefulStop": f"{FINISH_SECONDS}s"}


def _alone(executor: Mapping[str, Any], **others: Any) -> Load:
    return Load(executors={"all": executor}, **others)


def settings(load: Load) -> dict[str, object]:
    """What `k6/lab/asking.js` has to know of it."""
    return {"LOADS": json.dumps(load.executors), "PAUSE": load.pause}
