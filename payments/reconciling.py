"""Our book against the gateway's, and what to do about a charge that nobody should have paid."""

from dataclasses import dataclass

from structlog import get_logger

from payments import book
from payments.book import Difference
from payments.gateways import gateway
from payments.gateways.contract import BookedCharge
from payments.models import Payment

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, and what was done about it: nothing, `refunded`, or `refund failed`."""

    difference: Difference
    done: str = ""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was compared and found. `unread` says why the gateway's book could not be read to its end."""

    checked: int
    findings: list[Finding]
    unread: str

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left that somebody has to look at."""
        return not self.unread and all(finding.done == "refunded" for finding in self.findings)


def reconcile(*, fix: bool = False) -> Reconciliation:
    """Compare the two books; with `fix`, refund what is charged and belongs to no payment that succeeded.

    A refund is keyed by its charge, so repeating this gives nothing back twice. Call it outside any
    transaction.
    """
    compared = book.compare()
    findings = [Finding(one, _refund(one) if fix else "") for one in compared.differences]
    return Reconciliation(compared.checked, findings, compared.unread)


def _refund(difference: Difference) -> str:
    """Give an orphan's charges back; what else may be wrong is for a person to decide."""
    payment = difference.payment
    is_orphan = payment is None or payment.status in (Payment.Status.FAILED, Payment.Status.REVERSED)
    kept = [charge for charge in difference.charges if charge.kept_amount]
    if not (is_orphan and kept):
        return ""
    return "refunded" if all(_give_back(charge) for charge in kept) else "refund failed"


def _give_back(charge: BookedCharge) -> bool:
    refunded = gateway().refund(
        key=f"orphan-{charge.reference}", charge_reference=charge.reference, amount=charge.kept_amount
    )
    is_done = refunded.status == "succeeded"
    log.warning("orphaned charge", charge=charge.reference, amount=charge.kept_amount, is_refunded=is_done)
    return is_done
