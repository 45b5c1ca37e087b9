"""Sections of the home page: payments in doubt, and differences from the gateway's book."""

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from orders.saga import status as saga_status
from payments import disputes
from payments.models import Payment, Reconciliation
from payments.reconciliation import reconciling, remedies
from shop.backoffice.home.parts import (
    COUNTED,
    ROWS_SHOWN,
    Row,
    Section,
    State,
    age,
    ago,
    number_text,
)
from shop.backoffice.page_elements import amount, link

PAYMENTS = "admin:payments_payment_changelist"
COMPARISONS = "admin:payments_reconciliation_changelist"


def payments_in_doubt(request: HttpRequest) -> Section:
    """Payments whose charge got no answer of the gateway, the oldest first."""
    in_doubt = saga_status.filter_unsettled(Payment.objects.all(), [Payment.Status.IN_DOUBT])
    number = in_doubt.order_by()[:COUNTED].count()
    oldest = list(in_doubt.order_by("created_at", "id")[:ROWS_SHOWN]) if number else []
    rows = [
        Row(
            link=link(payment.pk, "admin:payments_payment_change", payment.pk),
            detail=f"{amount(payment.card_amount)} · {ago(payment.created_at)}",
        )
        for payment in oldest
    ]
    note = _("Nothing to do: the gateway has answered every charge.")
    if oldest:
        note = _("The oldest is %(age)s old. The shop keeps asking the gateway by itself.") % {
            "age": age(oldest[0].created_at)
        }
    return Section(
        name="payments",
        title=_("Payments in doubt"),
        icon="contact_support",
        state=State.WORK if number else State.CALM,
        number=number_text(number),
        unit=ngettext("has no answer", "have no answer", number),
        note=note,
        rows=rows,
        links=[link(_("All payments in doubt"), PAYMENTS, query="show=in_doubt")],
    )


def open_disputes(request: HttpRequest) -> Section:
    """Disputes that await the shop's answer at the gateway, or its decision, the one due first first."""
    found = disputes.open_disputes()
    number = found[:COUNTED].count()
    first = found.select_related("payment").order_by("due_at", "id")[:ROWS_SHOWN] if number else []
    rows = [
        Row(
            link=link(dispute.payment_id, "admin:payments_payment_change", dispute.payment_id),
            detail=amount(dispute.amount) + (f" · {dispute.due_at:%Y-%m-%d %H:%M}" if dispute.due_at else ""),
        )
        for dispute in first
    ]
    return Section(
        name="disputes",
        title=_("Open disputes"),
        icon="gavel",
        state=State.WORK if number else State.CALM,
        number=number_text(number),
        unit=ngettext("charge is disputed", "charges are disputed", number),
        note=_("Answer them at the gateway, each until its time. Their amounts can't be refunded meanwhile.")
        if number
        else _("Nothing to do: no charge is disputed."),
        rows=rows,
        links=[link(_("All disputed payments"), PAYMENTS, query="show=disputed")],
    )


def differences(request: HttpRequest) -> Section:
    """What the latest comparisons with the gateway's book have left to do."""
    runs = list(reconciling.latest_runs().values())
    # A difference of recent payments is in the comparison of the whole books too.
    found = {finding["key"]: (finding, run) for run in runs for finding in remedies.open_findings(run)}
    more = any(run.differences > len(run.findings) for run in runs)
    rows = [_difference_row(finding, run) for finding, run in list(found.values())[:ROWS_SHOWN]]
    latest = max(runs, key=lambda run: run.ended_at, default=None)
    is_late = latest is None or reconciling.is_old(latest)
    return Section(
        name="differences",
        title=_("Differences from the gateway's book"),
        icon="balance",
        state=State.ALARM if found or more else State.WORK if is_late else State.CALM,
        number=number_text(COUNTED if more else len(found)),
        unit=ngettext("difference left", "differences left", len(found)),
        note=_comparison_note(latest, is_late=is_late, has_work=bool(found)),
        rows=rows,
        links=[link(_("All comparisons"), COMPARISONS)],
    )


def _comparison_note(latest: Reconciliation | None, *, is_late: bool, has_work: bool) -> str:
    if latest is None:
        return _("The books were never compared to their end: look at the comparisons.")
    text = _("Nothing to do: the books agree. They were last compared %(ago)s.")
    if is_late:
        text = _("The books were last compared %(ago)s, which is too long: look at the comparisons.")
    elif has_work:
        text = _("Each comparison says what to do. The books were last compared %(ago)s.")
    return text % {"ago": ago(latest.ended_at)}


def _difference_row(finding: dict[str, str], run: Reconciliation) -> Row:
    return Row(
        link=link(finding["key"], "admin:payments_reconciliation_change", run.pk),
        detail=remedies.cause_text(finding),
    )
