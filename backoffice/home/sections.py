"""Sections of the home page: each reads a kind of work, its number and its worst rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _, ngettext

from backoffice.board import page as board_page, readings
from backoffice.page_elements import link
from coupons.metrics import state as coupons_state
from coupons.models import Campaign
from events.models import BUILT_IN
from events.webhooks.deliveries import EventFilter
from inventory import products, stock_reports
from orders.models import Saga
from orders.saga import operator_actions, status as saga_status
from payments import disputes
from payments.models import Payment, Reconciliation
from payments.reconciliation import reconciling
from sales import metrics as sales_metrics
from sales.models import Sale
from shop import approvals, clock
from shop.admin_base.display import status_label, stored_text
from shop.approval_models import Approval
from shop.management.laws import LAWS
from shop.money import format_amount

ROWS_SHOWN = 5
MOST_COUNTED = 1_000
"""A section counts no further; one more stands for more."""
COUNTED = MOST_COUNTED + 1
LONGEST_ERROR = 120
DEAD = f"endpoint__exact={BUILT_IN}&status__exact=failed"
AUDITS_MISSED = 3
"""A law's answer that is older than so many audits is too old."""


class State(StrEnum):
    """How a section is marked: nothing to do, work to do, what can't wait, or not readable now."""

    CALM = "calm"
    WORK = "work"
    ALARM = "alarm"
    AWAY = "away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing to work on: a link to its page, its status as a label, and what there is to know."""

    link: SafeString
    label: SafeString | str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a section found. `number` and `unit` are read together; `note` says the rest in a sentence."""

    state: State
    number: str = ""
    unit: str = ""
    note: str
    rows: Sequence[Row] = ()
    links: Sequence[SafeString] = ()


def stuck_sagas(request: HttpRequest) -> Work:
    """Sagas that need an operator, the earliest deadline first."""
    number = saga_status.count_needing_operator(most=COUNTED)
    return _listed(
        number,
        [_saga_row(saga) for saga in saga_status.read_needing_operator(most=ROWS_SHOWN)] if number else [],
        unit=ngettext("needs an operator", "need an operator", number),
        note=_("The earliest deadline is first."),
        calm=_("Nothing to do: no saga needs an operator."),
        links=[link(_("All sagas that need an operator"), "admin:orders_saga_changelist")],
        state=State.ALARM,
    )


def waiting_approvals(request: HttpRequest) -> Work:
    """What operators asked for and nobody has decided, the oldest first."""
    number, found = _read(Approval.objects.filter(status=Approval.Status.WAITING), "id")
    return _listed(
        number,
        [
            Row(
                link=link(approvals.ACTS[one.kind].title, "admin:shop_approval_change", one.pk),
                detail=" · ".join([one.subject, one.asker_name, ago(one.asked_at), one.reason]),
            )
            for one in found
        ],
        unit=ngettext("waits for a second operator", "wait for a second operator", number),
        note=_("The oldest is first."),
        calm=_("Nothing to do: nothing waits for an approval."),
        links=[link(_("All approvals"), "admin:shop_approval_changelist")],
    )


def payments_in_doubt(request: HttpRequest) -> Work:
    """Payments whose charge got no answer of the gateway, the oldest first."""
    in_doubt = saga_status.filter_unsettled(Payment.objects.all(), [Payment.Status.IN_DOUBT])
    number, oldest = _read(in_doubt, "created_at", "id")
    rows = [
        Row(
            link=link(payment.pk, "admin:payments_payment_change", payment.pk),
            detail=f"{format_amount(payment.card_amount)} · {ago(payment.created_at)}",
        )
        for payment in oldest
    ]
    note = _("The oldest is %(age)s old. The shop keeps asking the gateway by itself.")
    return _listed(
        number,
        rows,
        unit=ngettext("has no answer", "have no answer", number),
        note=note % {"age": age(oldest[0].created_at)} if oldest else "",
        calm=_("Nothing to do: the gateway has answered every charge."),
        links=[link(_("All payments in doubt"), "admin:payments_payment_changelist", query="show=in_doubt")],
    )


def open_disputes(request: HttpRequest) -> Work:
    """Disputes that await the shop's answer at the gateway, or its decision, the one due first first."""
    number, found = _read(disputes.open_disputes(), "due_at", "id")
    return _listed(
        number,
        [
            Row(
                link=link(dispute.payment_id, "admin:payments_payment_change", dispute.payment_id),
                detail=_joined(
                    format_amount(dispute.amount), dispute.due_at and f"{dispute.due_at:%Y-%m-%d %H:%M}"
                ),
            )
            for dispute in found
        ],
        unit=ngettext("charge is disputed", "charges are disputed", number),
        note=_("Answer them at the gateway, each until its time. Their amounts can't be refunded meanwhile."),
        calm=_("Nothing to do: no charge is disputed."),
        links=[link(_("All disputed payments"), "admin:payments_payment_changelist", query="show=disputed")],
    )


def differences(request: HttpRequest) -> Work:
    """What the latest comparisons with the gateway's book have left to do."""
    runs = list(reconciling.latest_runs().values())
    # A difference of recent payments is in the comparison of the whole books too.
    found = {finding["key"]: (finding, run) for run in runs for finding in reconciling.open_findings(run)}
    more = any(run.differences > len(run.findings) for run in runs)
    latest = max(runs, key=lambda run: run.ended_at, default=None)
    is_late = latest is None or reconciling.is_old(latest)
    return Work(
        state=State.ALARM if found or more else State.WORK if is_late else State.CALM,
        number=_number_text(COUNTED if more else len(found)),
        unit=ngettext("difference left", "differences left", len(found)),
        note=_comparison_note(latest, is_late=is_late, has_work=bool(found)),
        rows=[
            Row(
                link=link(finding["key"], "admin:payments_reconciliation_change", run.pk),
                detail=reconciling.cause_text(finding),
            )
            for finding, run in list(found.values())[:ROWS_SHOWN]
        ],
        links=[link(_("All comparisons"), "admin:payments_reconciliation_changelist")],
    )


def undelivered_events(request: HttpRequest) -> Work:
    """Events that were refused for good or given up, the oldest first."""
    number, found = _read(EventFilter().rows())
    rows = [
        Row(
            link=link(row.type, "admin:events_webhookdelivery_change", row.pk),
            detail=_joined(
                f"order {row.order_id}" if row.order_id else "",
                ago(row.created_at),
                stored_text(row.error)[:LONGEST_ERROR],
            ),
        )
        for row in found
    ]
    replay = [link(_("Replay"), "admin:events_webhookdelivery_replay_events")]
    all_events = link(_("All dead events"), "admin:events_webhookdelivery_changelist", query=DEAD)
    return _listed(
        number,
        rows,
        unit=ngettext("was not delivered", "were not delivered", number),
        note=_("The oldest is first."),
        calm=_("Nothing to do: every event was delivered, or is retried."),
        links=[all_events, *(replay if request.user.has_perm("shop.change_journalline") else [])],
    )


def running_campaigns(request: HttpRequest) -> Work:
    """The campaigns between their opening and their closing: paused ones first, sold out ones last, and the
    others by their share that is left.
    """
    running = sorted(
        coupons_state.running(),
        key=lambda one: (one.paused_at is None, one.remaining <= 0, one.remaining / one.quantity),
    )
    sold_out = sum(one.status_at(clock.now()) == Campaign.Status.SOLD_OUT for one in running)
    calm = ngettext(
        "Nothing to do: none is paused. %(count)s is sold out.",
        "Nothing to do: none is paused. %(count)s are sold out.",
        sold_out,
    )
    left = _("%(left)s left of %(quantity)s")
    return _running(
        request,
        running,
        is_all=len(running) < coupons_state.MOST_RUNNING,
        unit=ngettext("campaign", "campaigns", len(running)),
        idle=_("Nothing to do: no campaign is running."),
        calm=calm % {"count": sold_out} if sold_out else _("Nothing to do: none is paused."),
        paused=lambda count: ngettext(
            "%(count)s is paused: it issues nothing until it is resumed.",
            "%(count)s are paused: they issue nothing until they are resumed.",
            count,
        ),
        rows=[
            Row(
                link=link(one.name, "admin:coupons_campaign_change", one.pk),
                label=status_label(str(one.status_at(clock.now()))),
                detail=_joined(
                    left % {"left": f"{one.remaining:,}", "quantity": f"{one.quantity:,}"}, _paused(one)
                ),
            )
            for one in running[:ROWS_SHOWN]
        ],
        all_rows=link(_("All campaigns"), "admin:coupons_campaign_changelist"),
    )


def running_sales(request: HttpRequest) -> Work:
    """The sales between their opening and their closing: paused ones first, then the latest opening."""
    running = sorted(sales_metrics.running(), key=lambda sale: sale.paused_at is None)
    return _running(
        request,
        running,
        is_all=len(running) < sales_metrics.MOST_RUNNING,
        unit=ngettext("sale", "sales", len(running)),
        idle=_("Nothing to do: no sale is running."),
        calm=_("Nothing to do: none is paused."),
        paused=lambda count: ngettext(
            "%(count)s is paused: nothing of it can be ordered until it is resumed.",
            "%(count)s are paused: nothing of them can be ordered until they are resumed.",
            count,
        ),
        rows=[_sale_row(sale) for sale in running[:ROWS_SHOWN]],
        all_rows=link(_("All sales"), "admin:sales_sale_changelist"),
    )


def products_low_on_stock(request: HttpRequest) -> Work:
    """Products of which no more is available than their threshold, the furthest below it first."""
    low, is_complete = stock_reports.read_low(most=COUNTED)
    number = len(low)
    cut = _("Only the %(count)s products with the highest thresholds are looked at.")
    more = "" if is_complete else " " + cut % {"count": f"{stock_reports.MOST_CHECKED:,}"}
    text = _("%(available)s available, low at %(threshold)s")
    return _listed(
        number,
        [
            Row(
                link=link(product, "product-page", product.pk),
                label=status_label(products.state(product)),
                detail=text
                % {
                    "available": f"{product.available:,}",
                    "threshold": f"{product.low_stock_threshold or 0:,}",
                },
            )
            for product in low[:ROWS_SHOWN]
        ],
        unit=ngettext("product is at its threshold", "products are at their threshold", number),
        note=_("The one that is furthest below its threshold is first.") + more,
        calm=_("Nothing to do: every product with a threshold has more than it.") + more,
        links=[link(_("All products that are low"), "admin:inventory_product_changelist", query="low=yes")],
    )


def laws(request: HttpRequest) -> Work:
    """The broken laws; if none is, how old the oldest answer is."""
    states = readings.read_laws()
    known = [state for state in states if state.holds is not None]
    broken = [state for state in known if not state.holds]
    unknown = [state.law for state in states if state.holds is None]
    oldest_at = min((state.checked_at for state in known if state.checked_at), default=None)
    trusted = timedelta(seconds=AUDITS_MISSED * settings.AUDIT_SECONDS)
    is_old = bool(trusted and oldest_at and clock.now() - oldest_at > trusted)
    calm = "" if broken or unknown or is_old else _("Nothing to do: every law holds.")
    not_audited = _("Not audited yet: %(laws)s.") % {"laws": ", ".join(unknown)} if unknown else ""
    recent = _("The oldest answer is %(age)s old.")
    old = _("The oldest answer is %(age)s old, which is too old: look at the audit.")
    how_old = (old if is_old else recent) % {"age": age(oldest_at)} if oldest_at else ""
    return Work(
        state=State.ALARM if broken else State.WORK if unknown or is_old else State.CALM,
        number=f"{len(broken)}" if broken else f"{len(known)}/{len(LAWS)}",
        unit=ngettext("is broken", "are broken", len(broken)) if broken else _("hold"),
        note=" ".join(filter(None, [calm, not_audited, how_old])),
        rows=[
            Row(
                link=link(one.law, "admin:shop_lawstatus_change", one.law),
                label=status_label("broken"),
                detail=_joined(
                    _(LAWS[one.law]),
                    ngettext("%(count)s offender", "%(count)s offenders", len(one.offenders))
                    % {"count": len(one.offenders)},
                    one.checked_at and _("checked %(ago)s") % {"ago": ago(one.checked_at)},
                ),
            )
            for one in broken[:ROWS_SHOWN]
        ],
        links=[link(_("All laws"), "admin:shop_lawstatus_changelist")],
    )


def age(at: datetime) -> str:
    """How long ago it was: "3 minutes", in the reader's language."""
    now = clock.now()
    if now - at < timedelta(minutes=1):
        return _("less than a minute")
    # Its spaces don't break, and a section on a phone is narrow.
    return timesince(at, now, depth=1).replace("\xa0", " ")


def ago(at: datetime) -> str:
    return _("%(age)s ago") % {"age": age(at)}


def _read(rows: "QuerySet[Any]", *order: str) -> tuple[int, list[Any]]:
    """The number of rows up to `COUNTED`, and the first ones to show."""
    number = rows.order_by()[:COUNTED].count()
    return number, list((rows.order_by(*order) if order else rows)[:ROWS_SHOWN]) if number else []


def _listed(
    number: int, rows: Sequence[Row], *, note: str, calm: str, state: State = State.WORK, **more: Any
) -> Work:
    """Rows of which each is work: `note` is shown with some, `calm` without."""
    if not number:
        note, state = calm, State.CALM
    return Work(number=_number_text(number), rows=rows, note=note, state=state, **more)


def _number_text(number: int) -> str:
    """A number that was counted up to `COUNTED`."""
    return f"{MOST_COUNTED:,}+" if number > MOST_COUNTED else f"{number:,}"


def _joined(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part)


def _running(
    request: HttpRequest,
    running: Sequence[Campaign | Sale],
    *,
    is_all: bool,
    idle: str,
    calm: str,
    paused: Callable[[int], str],
    all_rows: SafeString,
    **more: Any,
) -> Work:
    """What runs, which is work while some of it is paused."""
    number = sum(one.paused_at is not None for one in running)
    board = [link(_("Launch board"), "board:page")] if request.user.has_perms(board_page.PERMISSIONS) else []
    return Work(
        state=State.WORK if number else State.CALM,
        number=f"{len(running)}{'' if is_all else '+'}",
        note=paused(number) % {"count": number} if number else calm if running else idle,
        links=[all_rows, *board],
        **more,
    )


def _saga_row(saga: Saga) -> Row:
    late_since, step = saga_status.late_since(saga), saga_status.step_name(saga)
    since = (
        _("late for %(age)s") % {"age": age(late_since)}
        if late_since
        else _("began %(ago)s") % {"ago": ago(saga.created_at)}
    )
    attempts = ngettext("%(count)s failed attempt", "%(count)s failed attempts", saga.attempts)
    return Row(
        link=link(f"{saga.kind} {str(saga.id)[-12:]}", "admin:orders_saga_change", saga.id),
        label=status_label(saga.state),
        detail=_joined(
            operator_actions.position(saga.direction, step) if step else "",
            since,
            attempts % {"count": saga.attempts} if saga.attempts else "",
            stored_text(saga.last_error)[:LONGEST_ERROR],
        ),
    )


def _sale_row(sale: Sale) -> Row:
    waiting = ""
    if sale.is_queued and sale.is_ordered:
        waiting = _("%(count)s waiting") % {"count": f"{sale.last_position - sale.passed_position:,}"}
    closes = _("closes at %(at)s UTC") % {"at": f"{sale.closes_at:%Y-%m-%d %H:%M}"}
    return Row(
        link=link(sale.name, "admin:sales_sale_change", sale.pk),
        label=status_label(str(sale.status_at(clock.now()))),
        detail=_joined(closes, waiting, _paused(sale)),
    )


def _paused(row: Campaign | Sale) -> str:
    return _("paused %(ago)s") % {"ago": ago(row.paused_at)} if row.paused_at else ""


def _comparison_note(latest: Reconciliation | None, *, is_late: bool, has_work: bool) -> str:
    if latest is None:
        return _("The books were never compared to their end: look at the comparisons.")
    calm = _("Nothing to do: the books agree. They were last compared %(ago)s.")
    late = _("The books were last compared %(ago)s, which is too long: look at the comparisons.")
    work = _("Each comparison says what to do. The books were last compared %(ago)s.")
    return (late if is_late else work if has_work else calm) % {"ago": ago(latest.ended_at)}
