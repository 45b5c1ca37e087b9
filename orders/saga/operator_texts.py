"""Everything that the admin, the commands and refusals say about a stuck saga and what operators do to it.

`operator_actions` performs the actions, `orders.admin` has the forms, docs/operations.md explains when to use
each ("When a saga is stuck").
"""

from dataclasses import dataclass

from orders.models import Saga
from orders.saga.definitions import UNDO, Step


@dataclass(frozen=True, slots=True)
class ActionText:
    """What a dialog of the admin and a command's help say about an action."""

    title: str
    description: str


NEEDS_OPERATOR = "stuck or overdue"
RETRY = ActionText(
    "Retry at once, with a new deadline",
    "The saga continues from its current step, in its current direction.",
)
COMPENSATE = ActionText(
    "Compensate",
    "The steps that were done are undone, and the saga releases what it holds. If it is stuck while it "
    "undoes a call to the gateway, you confirm that nothing is charged there any more; `audit` finds out if "
    "that is wrong.",
)
COMPLETE = ActionText(
    "Record the current step as done",
    "Only for a step at another system: a charge that succeeded at the gateway, a refund that was made there "
    "by hand, or an event that the data platform has received. You confirm that it happened; `audit` finds "
    "out if that is wrong.",
)
REASON_HELP = "Why, in 255 characters at most. The journal keeps it; customers don't see it."
REFERENCE_HELP = "The other system's id of the charge, refund or event; required for a charge."

# Customers see these two, and never the operator's reason.
FORCED_DETAIL = "An operator confirmed this step."
COMPENSATED_DETAIL = "An operator cancelled the payment."

REASON_REQUIRED = "Say why, in 255 characters at most: the journal keeps it."
REFERENCE_INVALID = "A reference is 96 printable ASCII characters at most."
LEASED = "A worker is executing this saga; try again in a few seconds."


def next_action(saga: Saga) -> str:
    """What happens to the saga next."""
    if saga.state == Saga.State.DONE:
        return "it is done."
    if saga.state == Saga.State.COMPENSATED:
        return "it is compensated."
    progress = "it is being compensated" if saga.direction == UNDO else "it continues"
    return f"{progress}; the next free worker executes it."


def position(direction: str, step: str) -> str:
    """The step that the saga is at, such as `undo charge_card`."""
    return f"{direction} {step}"


def already_ended(state: str) -> str:
    return f"The saga has ended: it is {state}."


def not_reversible(saga_type: str, *, is_retried_only: bool, order_id: object | None) -> str:
    """Why the saga can't be compensated, and what to do instead."""
    if is_retried_only:
        instead = "it must complete: retry it, or complete its step"
    elif order_id:
        instead = f"refund order {order_id} instead"
    else:
        instead = "the points are in the wallet"
    return f"This {saga_type} can't be compensated any more; {instead}."


def not_forceable(step: Step | None) -> str:
    """Why an operator can't confirm a step in our own database."""
    if step is None:
        return "All steps are done and only the saga's end is not recorded: retry the saga."
    return f"{step.name} runs in our own database, and forcing it would skip its effect: retry the saga."


def not_stuck(step: Step) -> str:
    return f"{step.name} is not stuck: it is still being retried."


def not_completable(state: str) -> str:
    if state == Saga.State.COMPENSATED:
        return "The saga is compensated, which is final."
    return "The saga is being compensated: retry it, or force its compensation."
