"""Which cases somebody asked for by `STRATEGIES=…` and `SCENARIO=…`."""

from collections.abc import Sequence

from scripts.lab.offers import Offer
from scripts.lab.scenarios import SCENARIOS, Case


class Unknown(Exception):
    """A name that there isn't, in one line with those that there are."""


def cases(offer: Offer, *, strategies: str, scenarios: str, is_quick: bool) -> list[Case]:
    """The cases in the order in which they run: the control last, those of one stack together.

    Raises Unknown.
    """
    wanted = _names(scenarios, list(SCENARIOS), "scenario")
    known = list(dict.fromkeys([*offer.coupons, *offer.inventory]))
    asked = _names(strategies, known, "strategy")
    chosen = [
        Case(scenario=SCENARIOS[name], strategy=strategy, variant=variant, is_quick=is_quick)
        for name in wanted
        for strategy in SCENARIOS[name].fitting(offer)
        if strategy in asked
        for variant in SCENARIOS[name].variants
    ]
    if not chosen:
        fitting = list(dict.fromkeys(one for name in wanted for one in SCENARIOS[name].fitting(offer)))
        raise Unknown(f"nothing of {', '.join(wanted)} fits: choose from {', '.join(fitting)}")
    settings = [dict(case.settings) for case in chosen]
    first = {str(one): number for number, one in reversed(list(enumerate(settings)))}
    return sorted(chosen, key=lambda case: (case.is_control, first[str(dict(case.settings))]))


def _names(asked: str, known: Sequence[str], kind: str) -> list[str]:
    """The names in their own order, all where none is asked for."""
    names = [name.strip() for name in asked.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Unknown(f"there is no {kind} {', '.join(unknown)}: choose from {', '.join(known)}")
    return [name for name in known if name in names] if names else list(known)
