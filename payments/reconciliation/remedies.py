"""What to do about each kind of difference, and the fix of a single one, as `reconcile --fix` does it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.utils.translation import gettext, gettext_lazy as _

from payments.models import Payment, Reconciliation
from payments.reconciliation import comparison, reconciling
from payments.reconciliation.comparison import Difference, Kind
from payments.reconciliation.reconciling import REFUNDED, RESOLVED, Fix
from shop import own_account
from shop.db import transactions
from shop.errors import NotFound, Rejected
from shop.journal import journal

AGREES = "agrees"
FINISHED = (*RESOLVED, AGREES)
ADVICE = {
    Kind.UNKNOWN_CHARGE: _(
        "No payment of this shop has the key. If another shop uses the same account at the gateway, the "
        "charge may be its own: leave it. Otherwise refund it."
    ),
    Kind.CHARGED_TWICE: _(
        "Compare the charges at the gateway with the payment's charge reference, and refund there those that "
        "the payment doesn't name."
    ),
    Kind.WRONG_CHARGE: _(
        "The charge is for another order or amount than the payment. Find out at the gateway who changed it; "
        "then refund it there, and refund the order here if its customer has paid nothing."
    ),
    Kind.CHARGED_AFTER_END: _(
        "The payment had ended when the charge arrived. The next comparison by schedule refunds it; it can "
        "be refunded at once."
    ),
    Kind.NOT_CHARGED: _(
        "The order was settled, and the gateway has no charge for it. Check that the gateway account and its "
        "mode (live or test) are those of that time; then collect the amount, or refund the order."
    ),
    Kind.WRONG_REFUNDS: _(
        "A refund was made here and not at the gateway, or one that was made there is not booked yet: the "
        "next comparison by schedule books it, or ask the gateway on the payment's page. Otherwise compare "
        "the order's refunds with the charge's page, and retry a refund that is stuck."
    ),
    Kind.DISPUTED: _(
        "The next comparison by schedule books the dispute, or ask the gateway on the payment's page. If one "
        "stays, look at it at the gateway."
    ),
}
FIXABLE = (Kind.UNKNOWN_CHARGE, Kind.CHARGED_AFTER_END)


def advice(finding: dict[str, Any]) -> str:
    """What to do about the finding of a comparison; empty once nothing is left to do."""
    return "" if finding["done"] in FINISHED else str(ADVICE[finding["kind"]])


def cause_text(finding: dict[str, Any]) -> str:
    """The cause of a finding in the language of the page."""
    return _translated(finding["text"], finding["values"])


def _translated(text: str, values: Mapping[str, Any]) -> str:
    status = {"status": Payment.Status(values["status"]).label} if "status" in values else {}
    return gettext(text) % {**values, **status}


def open_findings(run: Reconciliation) -> list[dict[str, Any]]:
    """The recorded findings of the comparison with which something is left to do."""
    return [finding for finding in run.findings if finding["done"] not in FINISHED]


def is_fixable(finding: dict[str, Any]) -> bool:
    """Whether `fix` may refund its charge."""
    return finding["done"] not in FINISHED and finding.get("kind") in FIXABLE


def fix(*, run_id: int, key: str, reason: str) -> str:
    """Refund the orphaned charges of a finding; returns `refunded`, or `agrees` if nothing differs any more.

    Both books are read again first, and a repeat refunds nothing twice. Call it outside any transaction.
    Raises `NotFound`, `NotAllowed` `own_account`, `Rejected` `not_fixable` or `refund_failed`, and
    `Unavailable`.
    """
    run = Reconciliation.objects.filter(pk=run_id).first()
    finding = find(run, key) if run else None
    if finding is None:
        text = gettext("The comparison %(run)s found no difference for the key %(key)s.")
        raise NotFound(text % {"run": run_id, "key": key})
    if finding["done"] == REFUNDED:
        return REFUNDED
    difference = next(comparison.recheck([key]), None)
    done = _refund(difference) if difference else AGREES
    transactions.run(partial(_record, run_id, key, done, reason), transactions.REPEATABLE)
    return done


def _refund(difference: Difference) -> str:
    if difference.payment:
        own_account.refuse_own(difference.payment.account_id)
    done = reconciling.refund_orphans(difference, Fix.EVERYTHING)
    if not done:
        cause = difference.cause
        values = {"cause": _translated(cause.text, cause.values), "advice": ADVICE[cause.kind]}
        raise Rejected(gettext("Nothing was done: %(cause)s. %(advice)s") % values, code="not_fixable")
    if done != REFUNDED:
        raise Rejected(
            gettext(
                "The gateway has not refunded the charge. Look at it there; a repeat uses the same key, and "
                "refunds nothing twice."
            ),
            code="refund_failed",
        )
    return done


def _record(run_id: int, key: str, done: str, reason: str) -> None:
    """Write the result into the comparison and the journal, once for each finding."""
    run = Reconciliation.objects.select_for_update().get(pk=run_id)
    finding = find(run, key)
    if finding is None or finding["done"] in (REFUNDED, done):
        return
    before, finding["done"] = finding["done"], done
    run.refunded += done == REFUNDED
    run.save(update_fields=["findings", "refunded"])
    journal.note(
        what="reconciliation.fixed",
        subject=f"reconciliation {run_id}",
        before={"key": key, "done": before},
        after={"key": key, "done": done},
        detail=reason,
        is_internal=True,
    )


def find(run: Reconciliation, key: str) -> dict[str, Any] | None:
    """The finding of the comparison about this key."""
    return next((finding for finding in run.findings if finding["key"] == key), None)
