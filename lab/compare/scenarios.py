"""The scenarios in the order in which they run, as `scenarios.toml` has them: what each says, its load, and
what of it is otherwise in seconds (`QUICK`).

A load is an executor in k6's words; for callers to finish what they began it has 170 s: longer than their
patience and one more request. If accounts run out their requests are repeated: answers 200 count them.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Executor = Mapping[str, Any]  # As k6 has it
Terms = Mapping[str, Any]
FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a scenario's variant is beside others, which run one by one."""

    name: str = ""
    terms: Terms = field(default_factory=dict)  # of its campaign
    pays: bool = True  # orders
    has_coupon: bool = True  # orders that aren't steps
    slowest_p95_ms: int = 0  # a p95 over it ends the steps; 0 for no bound


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    says: str
    k6: Executor
    vus: Sequence[int]  # callers; several are steps, up to the first that is too slow
    seconds: int
    accounts: int
    sort: Literal["coupons", "orders"] = "coupons"
    quantity: int = 0  # of coupons; 0 for as many as accounts
    pause: float = 0  # a caller's rest
    warm_up: int = 0  # seconds of a step that aren't judged
    persists: bool = False  # callers retry until they have their coupon or none is left
    sells_out: bool = False  # there are more patient callers than coupons, so none may be left
    strategies: Sequence[str] = ()  # all, where none is named
    variants: Sequence[Variant] = (Variant(),)
    is_control: bool = False  # `unsafe` runs in it
    settings: Mapping[str, str] = field(default_factory=dict)  # of its stack
    joins: str = ""  # it also runs where that scenario is asked for


def _scenario(name: str, *, variants: Sequence[Terms] = ({},), **terms: Any) -> Scenario:
    return Scenario(name=name, variants=[Variant(**variant) for variant in variants], **terms)


def _read() -> tuple[dict[str, Scenario], dict[str, Scenario]]:
    whole = {}
    quick = {}
    for name, terms in tomllib.loads(FILE.read_text()).items():
        otherwise = terms.pop("quick")
        whole[name] = _scenario(name, **terms)
        quick[name] = _scenario(name, **terms | otherwise)
    return whole, quick


SCENARIOS, QUICK = _read()
