"""Results of steps that the executor itself gives: for errors, for lost leases, and past the deadline."""

from django.utils.translation import gettext_noop

from orders.saga.definitions import GAVE_UP, Event, StepResult
from shop.errors import Invalid, NotFound, Rejected

WITHOUT_PARENT = StepResult(Event.FAILED, gettext_noop("The saga's order or payment is missing."))
LEASE_LOST = StepResult(Event.FAILED, gettext_noop("The worker stopped before it recorded a result."))
OUTCOME_UNKNOWN = (GAVE_UP, gettext_noop("The outcome stayed unknown until the deadline."))
TOO_LATE = (GAVE_UP, gettext_noop("The deadline passed before it was tried."))


def refusal_or_failure(error: Exception) -> StepResult:
    """The result for what a local step raised: a refusal, or an unexpected failure."""
    if isinstance(error, Rejected | Invalid | NotFound):
        return StepResult(Event.REFUSED, str(error), code=error.code)
    return unexpected_failure(error)


def unexpected_failure(error: Exception) -> StepResult:
    """The result for an unexpected failure, which is not final."""
    return StepResult(Event.FAILED, f"{type(error).__name__}: {error}")
