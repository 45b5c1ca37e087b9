"""The loads in k6's words: how many callers, at which times, and for how long."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.bench import load
from scripts.stack.instance import Instance

START_SECONDS, FINISH_SECONDS = 180, 170
"""For k6 to read its accounts and to make its callers; and for callers to finish what they began: longer than
their patience and one more request. A coupon of a caller that was cut off would be missing in the count of
answers."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The k6 scenarios, the seconds that they last at about, and the accounts and coupons there are.

    `sells_out`: more callers than coupons, and each of them is patient, so none may be left. `vus` are the
    callers of each step, if there are several. `warm_up`: the seconds of each step that aren't judged. A load
    without executors is a ramp: its steps are loads of their own, up to the first that is too slow.
    """

    executors: Mapping[str, Mapping[str, Any]]
    seconds: int
    accounts: int
    quantity: int
    pause: float = 0
    sells_out: bool = False
    vus: Sequence[int] = ()
    warm_up: int = 0

    @property
    def step_seconds(self) -> int:
        return self.seconds // max(len(self.vus), 1)

    @property
    def is_ramp(self) -> bool:
        return not self.executors


def at_once(callers: int, *, quantity: int, seconds: int = 10) -> Load:
    """All callers send one request in the same moment."""
    executor = _executor("per-vu-iterations", vus=callers, iterations=1, maxDuration=f"{FINISH_SECONDS}s")
    return Load(executors=executor, seconds=seconds, accounts=callers, quantity=quantity, sells_out=True)


def paced(vus: int, *, each: int, pause: float) -> Load:
    """Each caller sends that many requests, and rests in between."""
    most, requests = f"{each * 10 + FINISH_SECONDS}s", vus * each
    executor = _executor("per-vu-iterations", vus=vus, iterations=each, maxDuration=most)
    seconds = round(each * (pause + 0.2))
    return Load(executors=executor, seconds=seconds, accounts=requests, quantity=requests, pause=pause)


def constant(vus: int, seconds: int, *, accounts: int, quantity: int, pause: float = 0) -> Load:
    """The callers send request after request, each as another account."""
    executor = _executor("constant-vus", vus=vus, duration=f"{seconds}s")
    return Load(executors=executor, seconds=seconds, accounts=accounts, quantity=quantity, pause=pause)


def until_all_asked(vus: int, seconds: int, *, accounts: int) -> Load:
    """The same, to the end of the time or of the accounts: for what an account can do only once."""
    executor = _executor("shared-iterations", vus=vus, iterations=accounts, maxDuration=f"{seconds}s")
    return Load(executors=executor, seconds=seconds, accounts=accounts, quantity=accounts)


def crowd(vus: int, *, ramp: int, hold: int, accounts: int, quantity: int, pause: float) -> Load:
    """The callers start one after the other, and then stay."""
    stages = [{"duration": f"{seconds}s", "target": vus} for seconds in (ramp, hold)]
    executor = _executor("ramping-vus", startVUs=0, stages=stages)
    return Load(executors=executor, seconds=ramp + hold, accounts=accounts, quantity=quantity, pause=pause)


def steps(vus: Sequence[int], seconds: int, *, accounts: int, quantity: int) -> Load:
    """More and more callers; each step has accounts of its own, and a name that its metrics carry."""
    executors: dict[str, Any] = {}
    for index, number in enumerate(vus):
        start, first = f"{index * seconds}s", {"FIRST": str(index * (accounts // len(vus)))}
        words = {"vus": number, "duration": f"{seconds}s", "startTime": start, "env": first}
        executors |= _executor("constant-vus", f"vus_{number}", **words)
    whole = seconds * len(vus)
    return Load(executors=executors, seconds=whole, accounts=accounts, quantity=quantity, vus=vus)


def ramp(vus: Sequence[int], seconds: int, *, warm_up: int, each: int) -> Load:
    """More and more callers, until there are too many; each step has so many seconds, and `each` accounts."""
    whole, accounts = seconds * len(vus), each * len(vus)
    return Load(executors={}, seconds=whole, accounts=accounts, quantity=accounts, vus=vus, warm_up=warm_up)


def step(of: Load, vus: int) -> Load:
    """The step of a ramp with so many callers."""
    seconds, accounts = of.step_seconds, of.accounts // len(of.vus)
    return replace(until_all_asked(vus, seconds, accounts=accounts), warm_up=of.warm_up)


def _executor(kind: str, name: str = "all", **words: Any) -> dict[str, Any]:
    return {name: {"executor": kind, **words, "gracefulStop": f"{FINISH_SECONDS}s"}}


def run_k6(sort: str, one: Load, instance: Instance, **settings: object) -> tuple[Any, float]:
    """Run the load by `k6/lab/<sort>.js`: what k6 measured, and its processor time. Raises SetupError."""
    own = {"LOADS": json.dumps(one.executors), "PAUSE": one.pause, "WARM_UP": one.warm_up}
    seconds = START_SECONDS + one.seconds + 2 * FINISH_SECONDS
    return load.measure(f"lab/{sort}", own | settings, instance=instance, within_seconds=seconds)
