"""Everything that the admin, the commands and refusals say about a stuck saga and what operators do to it.

docs/operations.md explains when to use each action ("When a saga is stuck").
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext, gettext_lazy as _, gettext_noop

from orders.models import Saga
from orders.saga.definitions import UNDO
from shop.approval_models import Approval

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


@dataclass(frozen=True, slots=True)
class ActionText:
    """What a dialog of the admin and a command's help say about an action."""

    title: "StrOrPromise"
    description: "StrOrPromise"


NEEDS_OPERATOR = _("stuck or overdue")
RETRY = ActionText(
    _("Retry at once, with a new deadline"),
    _(
        "The saga continues from its current step, in its current direction. A stuck refund is made besides "
        "what was refunded at the gateway by hand until now: the gateway is asked, and nothing is done "
        "without its answer."
    ),
)
COMPENSATE = ActionText(
    _("Compensate"),
    _(
        "The steps that were done are undone, and the saga releases what it holds. If it is stuck while it "
        "undoes a call to the gateway, the gateway is asked, and it continues if nothing is charged there "
        "any more. If the gateway can't tell, a second operator has to approve it."
    ),
)
COMPLETE = ActionText(
    _("Record the current step as done"),
    _(
        "Only for a step at another system at which the saga is stuck: a charge that succeeded at the "
        "gateway, or a refund that was made there by hand. "
        "The gateway is asked, and what it says is recorded. Where a system can't be asked, or the gateway "
        "refuses a refund, a second operator has to approve it; what the gateway has not refunded is then "
        "taken off the refund: give it back by another way. A stuck refund is left to you while as much is "
        "refunded at the gateway by hand: complete it here if that was in its place."
    ),
)
REASON_HELP = _("Why, in 255 characters at most. The journal keeps it; customers don't see it.")
REFERENCE_HELP = _(
    "The other system's id, if you have it, such as the gateway's of the charge. The gateway's is "
    "compared with what it says."
)

# Customers see these two, and never the operator's reason. They are stored, so in English.
FORCED_DETAIL = gettext_noop("An operator confirmed this step.")
COMPENSATED_DETAIL = gettext_noop("An operator cancelled the payment.")


def next_action(saga: Saga | Approval) -> str:
    """What happens to the saga next, or to what was asked for."""
    if isinstance(saga, Approval):
        return gettext(
            "nothing is done yet, because another operator has to approve it (approval %(id)s)."
        ) % {"id": saga.pk}
    if saga.state == Saga.State.DONE:
        return gettext("it is done.")
    if saga.state == Saga.State.COMPENSATED:
        return gettext("it is compensated.")
    if saga.direction == UNDO:
        return gettext("it is being compensated; the next free worker executes it.")
    return gettext("it continues; the next free worker executes it.")


def position(direction: str, step: str) -> str:
    """The step that the saga is at, such as `undo charge_card`."""
    return f"{Saga.Direction(direction).label} {step}"
