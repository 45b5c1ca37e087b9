"""What a restore to a moment has lost: the answers that clients got, by time, beside the restored rows."""

import math
from collections import Counter
from dataclasses import dataclass, replace

from lab.chaos.memory import Account, RecordedCall, Setup
from lab.cluster.drill import effects
from lab.cluster.drill.effects import Effects


@dataclass(frozen=True)
class Loss:
    """`lost` are effects that must not be, and `doubled` rows that no answer has; `forgotten` counts the lost
    effects by kind that were acknowledged after the moment."""

    lost: list[str]
    doubled: list[str]
    forgotten: Counter[str]
    acknowledged: int
    """Effects that have to be there."""

    @property
    def findings(self) -> list[str]:
        return [*self.lost, *self.doubled]


def answered_between(setup: Setup, begin: float, end: float) -> Setup:
    """The same setup with the calls alone that were answered from `begin` on and before `end`."""

    def only(account: Account) -> Account:
        return replace(account, calls=[made for made in account.calls if begin <= made.answered_at < end])

    return replace(setup, staff=only(setup.staff), buyers=[only(account) for account in setup.buyers])


def without_calls(setup: Setup) -> Setup:
    """The same setup, with no call made."""
    return answered_between(setup, 0.0, 0.0)


def compare(setup: Setup, stored: Effects, *, before: Effects, moment: float, lost_at: float) -> Loss:
    """The loss of a restore to `moment` after the server was lost at `lost_at`, both of the wall clock."""
    beforehand = effects.acknowledged(answered_between(setup, 0.0, moment))
    forgettable = effects.acknowledged(answered_between(setup, moment, lost_at))
    afterwards = effects.acknowledged(answered_between(setup, lost_at, math.inf))
    due = {kind: beforehand[kind] | afterwards[kind] for kind in beforehand}
    compared = effects.compare(due, {"the restored database": stored}, before=before)
    unknown = effects.compare(
        {kind: due[kind] | forgettable[kind] for kind in due},
        {"the restored database": stored},
        before=before,
    )
    forgotten = Counter({kind: len(ids - stored[kind]) for kind, ids in forgettable.items()})
    return Loss(compared.lost, unknown.doubled, +forgotten, sum(map(len, due.values())))


def forgotten_orders(setup: Setup, stored: Effects, *, moment: float, lost_at: float) -> list[RecordedCall]:
    """The keyed calls whose order was acknowledged and is lost."""
    made = [
        call
        for account in answered_between(setup, moment, lost_at).buyers
        for call in account.orders().values()
    ]
    return [one for one in made if one.call.key and effects.identity(one)[1] not in stored["order"]]
