"""Reconciliation: records differences from the gateway's book, refunds orphaned charges, and books what began
at the gateway.

Orphaned charges landed after the shop gave their payments up: each is refunded once, whichever processes find
it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext, gettext_lazy as _
from structlog import get_logger

from accounts.operating import own_account
from foundation import clock, journal
from foundation.db import transactions
from foundation.errors import NotFound, Rejected, Unavailable
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import KeyedCall
from foundation.values import GivenValues
from payments import charge_notes, gateways, rows
from payments.gateways.contract import Books, GatewayResult
from payments.models import Payment, Reconciliation
from payments.reconciliation import comparison
from payments.reconciliation.comparison import Difference, Kind
from payments.transitions import ENDED_UNPAID

log = get_logger(__name__)
# A comparison records this many differences; all are counted.
MAX_WRITTEN = 1_000
UNDER_WAY = "It is not finished."
REQUESTED = "reconciliation.requested"
# The search of some gateways is a minute behind; comparisons overlap, so nothing is left out.
SETTLING = timedelta(minutes=2)
SHORTEST_PERIOD = timedelta(hours=1)
FULL_INTERVAL = timedelta(days=1)
# A comparison of the whole books that is not finished after this counts as crashed.
MAX_DURATION = timedelta(hours=1)
RETENTION = timedelta(days=30)
REFUNDED = "refunded"
BOOKED = "booked"
FAILED = "failed"
RESOLVED = (REFUNDED, BOOKED)
AGREES = "agrees"
FINISHED = (*RESOLVED, AGREES)
ADVICE = {
    Kind.UNKNOWN_CHARGE: _(
        "This shop has no payment for this charge. If another shop uses the same account at the "
        "gateway, it may be theirs: leave it. Otherwise refund it."
    ),
    Kind.CHARGED_TWICE: _(
        "Find the charges of this payment at the gateway. Keep the one with the payment's reference, "
        "and refund the others there."
    ),
    Kind.WRONG_CHARGE: _(
        "The charge is for another order or amount than the payment. Find out at the gateway who changed it; "
        "then refund it there, and refund the order here if its customer has paid nothing."
    ),
    Kind.CHARGED_AFTER_END: _(
        "The payment had ended when the charge arrived. The next comparison refunds it, or refund it now."
    ),
    Kind.NOT_CHARGED: _(
        "The order counts as paid, and the gateway has no charge for it. Check that the gateway "
        "account and its mode (live or test) are those of that time. Then collect the amount, or "
        "refund the order."
    ),
    Kind.WRONG_REFUNDS: _(
        "A refund was made here and not at the gateway, or one that was made there is not recorded "
        "yet. The next comparison records it, or ask the gateway on the payment's page. If that "
        "doesn't help, compare the order's refunds with the charge at the gateway."
    ),
    Kind.DISPUTED: _(
        "The next comparison records the dispute, or ask the gateway on the payment's page. If the "
        "difference stays, look at the charge at the gateway."
    ),
}
FIXABLE = (Kind.UNKNOWN_CHARGE, Kind.CHARGED_AFTER_END)
LATE = "charge.late"
LATE_REFUNDED = "charge.late_refunded"
LATE_FAILED = "charge.late_refund_failed"
ENDS = {LATE: "", LATE_REFUNDED: ", and was refunded", LATE_FAILED: ", and its refund failed"}
MOST_FAILED = 10
"""Refunds of a late charge that may fail at the gateway: after so many only a person can give it back."""
Finding = dict[str, Any]
"""A difference as a comparison has it recorded."""
BOOKED_KINDS = (Kind.WRONG_REFUNDS, Kind.DISPUTED)
RESOLVED_BY_SCHEDULE = (Kind.CHARGED_AFTER_END, *BOOKED_KINDS)
"""What the next comparison refunds or books."""
BOOKERS: list[Callable[[Payment], object]] = []
"""Book what began at the gateway for a payment that succeeded."""
RECORDERS: list[Callable[[Payment, int, bool], None]] = []
"""Record a refund of a late charge, or that it failed, with the line of the journal about it."""
# A comparison that is older than so many intervals says nothing of the payments since.
INTERVALS_TRUSTED = 3
SHORTEST_TRUST = timedelta(minutes=15)


class Fix(StrEnum):
    """Which orphaned charges are refunded; with any, refunds and disputes at the gateway are booked."""

    NOTHING = "nothing"
    # Charges of payments of ours that ended unpaid.
    OURS = "ours"
    # Also charges without a payment of ours, which may belong to another shop with the same gateway account.
    EVERYTHING = "everything"


def reconcile(
    *, since: datetime | None = None, until: datetime | None = None, fix: Fix = Fix.NOTHING
) -> Reconciliation:
    """Compare the books of a period, or the whole books, and record the differences; a repeat refunds nothing
    twice. Call it outside any transaction.
    """
    now = clock.now()
    run = Reconciliation.objects.create(
        started_at=now, ended_at=now, since_at=since, until_at=until, checked=0, differences=0, refunded=0,
        unread=UNDER_WAY,
    )  # fmt: skip
    try:
        for difference in comparison.differences(since=since, until=until, counted=run):
            cause = difference.cause
            done = _resolve(difference, fix)
            run.differences += 1
            run.refunded += done in RESOLVED
            if len(run.findings) < MAX_WRITTEN:
                # Pages in other languages show the text and its values.
                found = cause._asdict() | difference.books._asdict()
                run.findings.append({"key": difference.key, "cause": cause.in_words, **found, "done": done})
        run.unread = ""
    except Unavailable as error:
        run.unread = str(error)[:255]
    run.ended_at = clock.now()
    transactions.run(run.save, transactions.REPEATABLE)
    if run.unread:
        log.error("the gateway's book was not read to its end", run=run.pk, reason=run.unread)
    if left := run.differences - run.refunded:
        log.error("the books differ: see the reconciliation, and `reconcile`", run=run.pk, left=left)
    return run


def reconcile_by_schedule() -> Reconciliation:
    """Compare recent payments, and the whole books once a day; refund charges of payments that ended unpaid.
    Charges without a payment of ours are only reported: an operator decides.
    """
    rows.name_gateways()
    now = clock.now()
    until = now - SETTLING
    whole = Reconciliation.objects.filter(since_at__isnull=True)
    is_done = Q(unread="", started_at__gt=now - FULL_INTERVAL)
    is_tried_lately = Q(started_at__gt=now - MAX_DURATION)
    patience = timedelta(seconds=4 * (settings.PAYMENT_ACTION_SECONDS + settings.PAYMENT_GIVE_UP_SECONDS))
    is_partial = whole.filter(is_done | is_tried_lately).exists()
    since = until - max(SHORTEST_PERIOD, patience) if is_partial else None
    return reconcile(since=since, until=until, fix=Fix.OURS)


def note_request(*, reason: str, keyed: KeyedCall) -> object:
    """Record that an operator has a worker compare the books now. Repeating the key gives a `Replay`."""
    note = partial(journal.note, what=REQUESTED, subject="reconciliation", detail=reason, is_internal=True)
    return recorded_answers.run_once(keyed, note)


def is_clean(run: Reconciliation) -> bool:
    """Whether nothing is left for an operator."""
    return not run.unread and run.differences == run.refunded


def latest_runs() -> dict[str, Reconciliation]:
    """The latest completed comparisons: of recent payments (`lately`), and of the whole books (`whole`)."""
    complete = Reconciliation.objects.filter(unread="").order_by("-id")
    latest = {
        "lately": complete.filter(since_at__isnull=False).first(),
        "whole": complete.filter(since_at__isnull=True).first(),
    }
    return {scope: run for scope, run in latest.items() if run}


def is_old(run: Reconciliation) -> bool:
    """Whether the comparison says nothing of the payments of now."""
    return is_late_since(run.ended_at)


def is_late_since(at: datetime) -> bool:
    """Whether a comparison should have ended since then."""
    trust = max(SHORTEST_TRUST, timedelta(seconds=INTERVALS_TRUSTED * settings.RECONCILE_SECONDS))
    return clock.now() - at > trust


def left_counts() -> dict[str, int]:
    """How many differences the latest comparisons have left: of recent payments, and of the whole books."""
    return {scope: run.differences - run.refunded for scope, run in latest_runs().items()}


def age_seconds() -> float | None:
    """How long ago the last comparison was completed; None before the first."""
    run = Reconciliation.objects.filter(unread="").order_by("-id").first()
    return clock.age_seconds(run.ended_at) if run else None


def sweep() -> int:
    """Delete old comparisons. Returns how many."""
    old = Reconciliation.objects.filter(started_at__lt=clock.now() - RETENTION)
    return transactions.run(old.delete, transactions.REPEATABLE)[0]


def _resolve(difference: Difference, fix: Fix) -> str:
    """Do what can be done about the difference: "refunded", "refund failed", "booked", or "" for nothing; and
    "failed" for a row that can't be booked, which ends no comparison.
    """
    payment = difference.payment
    try:
        if fix == Fix.NOTHING or payment is None or difference.cause.kind not in BOOKED_KINDS:
            return refund_orphans(difference, fix)
        for book in BOOKERS:
            book(payment)
        return "" if next(comparison.recheck([difference.key], difference.books), None) else BOOKED
    except Unavailable:
        raise
    except Exception:
        log.exception("a difference of the books can't be resolved", key=difference.key)
        return FAILED


def refund_orphans(difference: Difference, fix: Fix) -> str:
    """Refund the charges of an orphan, except what is disputed: "refunded", or "refund failed"; "" for any
    other difference.
    """
    kept = [charge for charge in difference.charges if charge.kept_amount]
    payment = difference.payment
    is_allowed = fix == Fix.EVERYTHING or (fix == Fix.OURS and payment is not None)
    if not (kept and is_allowed and (payment is None or payment.status in ENDED_UNPAID)):
        return ""
    done = [refund_charge(charge, payment, difference.books) for charge in kept]
    return REFUNDED if all(done) else "refund failed"


def refund_charge(charge: GatewayResult, payment: Payment | None, books: Books) -> bool:
    """Refund what the gateway keeps of the charge, and note it in the journal. Returns whether it is done.

    The refund is keyed by the charge, what was refunded before and the amount, which is all that is left, so
    it happens once however many processes find it; and by how many have failed there, perhaps after they had
    succeeded. `payment` is the one that ended without the charge, if there is one. Call it outside any
    transaction.
    """
    amount = charge.kept_amount
    before_amount = charge.refunded_amount
    part = {"amount": amount} | ({"refunded_before_amount": before_amount} if before_amount else {})
    key = f"orphan-{charge.reference}-{before_amount}-{amount}"
    for number in range(1, MOST_FAILED):
        if gateways.of(books).find_refund(key=key, charge_reference=charge.reference).status != "declined":
            break
        if part in [
            line.after for line in charge_notes.noted(payment, LATE_REFUNDED, reference=charge.reference)
        ]:
            _note(LATE_FAILED, charge.reference, part, payment)
        key = f"{key.partition(':')[0]}:{number}"
        part = part | {"failed_before": number}
    # The charge is noted first: if this process dies in the refund, `note_already_refunded` notes the rest.
    _note(LATE, charge.reference, part, payment)
    refunded = gateways.of(books).refund(key=key, charge_reference=charge.reference, amount=amount)
    is_done = refunded.status == "succeeded"
    if is_done:
        _note(LATE_REFUNDED, charge.reference, part, payment)
    log.error(
        "orphaned charge",
        charge=charge.reference,
        payment=payment and payment.id,
        order=payment and payment.order_id,
        amount=amount,
        is_refunded=is_done,
        said=refunded.failure_detail,
    )
    return is_done


def note_already_refunded(charge: GatewayResult, payment: Payment) -> None:
    """Note each refunded part of a late charge, where the process that refunded it died before it could."""
    parts = dict[tuple[int, int], dict[str, int]]()
    for line in charge_notes.noted(payment, LATE, reference=charge.reference):
        if part := line.after:
            # The last one, as those before it have failed.
            parts[part.get("refunded_before_amount", 0), part["amount"]] = part
    for (before_amount, amount), part in parts.items():
        if before_amount + amount <= charge.refunded_amount:
            _note(LATE_REFUNDED, charge.reference, part, payment)


def _note(what: str, charge_reference: str, part: dict[str, int], payment: Payment | None) -> None:
    """Write one line for each part of a charge."""

    def note() -> None:
        detail = f"{part['amount']} was charged after the payment had ended{ENDS[what]}."
        is_new = charge_notes.note_once(
            payment, what, detail, reference=charge_reference, after=part, is_internal=what == LATE
        )
        if is_new and payment and what != LATE:
            for record in RECORDERS:
                record(payment, part["amount"], what == LATE_FAILED)

    transactions.run(note, transactions.KEYED)


def advice(finding: Finding) -> str:
    """What to do about the finding of a comparison; empty once nothing is left to do."""
    return "" if finding["done"] in FINISHED else str(ADVICE[finding["kind"]])


def cause_text(finding: Finding) -> str:
    """The cause of a finding in the language of the page."""
    text = finding["text"]
    values = finding["values"]
    status = {"status": Payment.Status(values["status"]).label} if "status" in values else {}
    return gettext(text) % {**values, **status}


def open_findings(run: Reconciliation) -> list[Finding]:
    """The recorded findings of the comparison with which something is left to do."""
    return [finding for finding in run.findings if finding["done"] not in FINISHED]


def is_fixable(finding: Finding) -> bool:
    """Whether `fix_finding` may refund its charge."""
    return finding["done"] not in FINISHED and finding["kind"] in FIXABLE


def finding_of(run: Reconciliation, key: str) -> Finding | None:
    """The finding of the comparison about this key: of several gateways' one that can be fixed."""
    found = [finding for finding in run.findings if finding["key"] == key]
    return next(filter(is_fixable, found), found[0] if found else None)


def books_of(finding: GivenValues) -> Books:
    """The books in which the difference was found; findings of the release before don't name them."""
    now = gateways.current_books()
    return Books(finding.get("gateway", now.gateway), finding.get("gateway_account", now.gateway_account))


def fix_finding(*, run_id: int, key: str, reason: str) -> str:
    """Refund the orphaned charges of a finding; returns `refunded`, or `agrees` if nothing differs any more.

    Both books are read again first, and a repeat refunds nothing twice. Call it outside any transaction.
    Raises `NotFound`, `NotAllowed` `own_account`, `Rejected` `not_fixable` or `refund_failed`, and
    `Unavailable`.
    """
    run = Reconciliation.objects.filter(pk=run_id).first()
    finding = finding_of(run, key) if run else None
    if finding is None:
        text = gettext("The comparison %(run)s found no difference for the key %(key)s.")
        raise NotFound(text % {"run": run_id, "key": key})
    if finding["done"] == REFUNDED:
        return REFUNDED
    done = AGREES
    if difference := next(comparison.recheck([key], books_of(finding)), None):
        if difference.payment:
            own_account.refuse_own(difference.payment.account_id)
        done = refund_orphans(difference, Fix.EVERYTHING)
        if not done:
            cause = difference.cause
            values = {"cause": cause_text(cause._asdict()), "advice": ADVICE[cause.kind]}
            raise Rejected(gettext("Nothing was done: %(cause)s. %(advice)s") % values, code="not_fixable")
        if done != REFUNDED:
            raise Rejected(
                gettext(
                    "The gateway has not refunded the charge. Look at it there; a repeat refunds nothing "
                    "twice."
                ),
                code="refund_failed",
            )
    transactions.run(partial(_record_fix, run_id, key, done, reason), transactions.REPEATABLE)
    return done


def _record_fix(run_id: int, key: str, done: str, reason: str) -> None:
    """Write the result into the comparison and the journal, once for each finding."""
    run = Reconciliation.objects.select_for_update().get(pk=run_id)
    finding = finding_of(run, key)
    if finding is None or finding["done"] in (REFUNDED, done):
        return
    before = finding["done"]
    finding["done"] = done
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
