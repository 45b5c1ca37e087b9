"""What the gateway says of a charge that an operator takes for done or undone.

The gateway's book of the charge's key has to agree in status, amount and currency. Only of a charge that it
doesn't have, and can't block, the gateway can't tell whether it is undone.
"""

from django.utils.translation import gettext_noop

from foundation.errors import Rejected, Unavailable
from foundation.lazy_texts import Text, mark
from foundation.money import format_amount
from orders.saga.definitions import FORCED_DETAIL, NOT_KNOWN, UNDO, Event, SagaRow, StepResult
from payments import gateways
from payments.gateways.contract import BookedCharge, ExpectedCharge, GatewayResult
from payments.models import Payment

REFUNDED = gettext_noop("refunded")
NOT_CHARGED = gettext_noop("nothing was charged")
WORKING = gettext_noop("The gateway is working on it.")
NO_ANSWER = mark("The gateway gave no answer; nothing was done. Try again.")


def read_charge(saga: SagaRow) -> ExpectedCharge:
    return expected_charge(Payment.objects.filter(id=saga.subject_id).first())


def ask_about_charge(expected: ExpectedCharge, direction: str) -> StepResult:
    """Whether the card was charged, or nothing is charged under the key any more."""
    if direction == UNDO:
        return _ask_about_undone_charge(expected)
    charge = find_charge(expected)
    if charge.refunded_amount:
        raise disagrees(
            mark(
                "{amount} of it are refunded there",
                amount=format_amount(charge.refunded_amount, expected.currency),
            )
        )
    return StepResult(Event.FORCED, FORCED_DETAIL, reference=charge.reference)


def _ask_about_undone_charge(expected: ExpectedCharge) -> StepResult:
    """Asks by the step's own call: it cancels by key what is not charged, and changes nothing else."""
    cancelled = gateways.of(expected.books).cancel(key=expected.key)
    if cancelled.status == "unknown":
        raise Unavailable(NO_ANSWER, retry_after=5)
    if cancelled.status in ("cancelled", "declined", "absent"):
        return StepResult(Event.FORCED, NOT_CHARGED, reference=cancelled.reference, amount=0)
    booked = list(gateways.of(expected.books).charges(key=expected.key))
    if not booked:
        # It can't block the key: the charge may still arrive.
        return NOT_KNOWN
    kept = sum(charge.kept_amount for charge in booked)
    if kept:
        raise disagrees(
            mark("{amount} are charged there and not refunded", amount=format_amount(kept, expected.currency))
        )
    if any(charge.is_undecided for charge in booked):
        raise disagrees(mark("the charge is disputed there, and may be kept"))
    undecided = {charge.status for charge in booked} - {"succeeded", "declined", "cancelled"}
    if undecided:
        raise disagrees(mark("the charge is {status} there", status=", ".join(sorted(undecided))))
    refunded = [charge for charge in booked if charge.status == "succeeded"]
    detail = REFUNDED if refunded else NOT_CHARGED
    amount = sum(one.amount for one in refunded)
    return StepResult(Event.FORCED, detail, reference=(refunded or booked)[0].reference, amount=amount)


def is_refunded(undone: StepResult) -> bool:
    """Whether a charge was there when it was undone. Lines of the release before 3.0 have no amount."""
    return undone.detail == REFUNDED if undone.amount is None else undone.amount > 0


def judge_refund(refunded: GatewayResult, *, amount: int, detail: str, call: str = "") -> StepResult:
    """What a call has come to that was to refund this amount; `detail` is of one that is done."""
    if refunded.status == "succeeded":
        return StepResult(Event.DONE, detail, reference=refunded.reference, amount=amount)
    return judge_undecided(refunded, call)


def judge_undecided(result: GatewayResult, call: str = "") -> StepResult:
    """What a call has come to without a final result; what failed begins with its name. Of an unknown outcome
    it is looked up first at the next attempt.
    """
    if result.status == "pending":
        return StepResult(Event.PENDING, WORKING, reference=result.reference)
    code = result.failure_code or ("refused" if result.status == "declined" else "")
    return StepResult(Event.FAILED, call + described(result), code=code, reference=result.reference)


def described(result: GatewayResult) -> str:
    return " ".join(f"{result.status} {result.failure_code} {result.failure_detail}".split())


def find_charge(expected: ExpectedCharge) -> BookedCharge:
    """The one charge of the key that succeeded, with this amount. Raises `Rejected`, `Unavailable`."""
    booked = list(gateways.of(expected.books).charges(key=expected.key))
    if not booked:
        raise Rejected(
            mark("The gateway has no charge of this payment; nothing was done."), code="charge_not_found"
        )
    succeeded = [charge for charge in booked if charge.status == "succeeded"]
    if not succeeded:
        raise disagrees(
            mark("the charge is {status} there", status=", ".join(sorted({one.status for one in booked})))
        )
    charge = succeeded[0]
    if len(succeeded) > 1 or not expected.is_met_by(charge):
        raise disagrees(
            mark(
                "{found} are charged there, not {expected}",
                found=", ".join(format_amount(one.amount, one.currency or "?") for one in succeeded),
                expected=format_amount(expected.amount, expected.currency),
            )
        )
    return charge


def disagrees(what: Text) -> Rejected:
    return Rejected(
        mark("The gateway says otherwise, and nothing was done: {what}.", what=what), code="gateway_disagrees"
    )


def expected_charge(payment: Payment | None) -> ExpectedCharge:
    if payment is None:
        raise Rejected(mark("The saga's order or payment is missing."), code="charge_not_found")
    return payment.expected_charge
