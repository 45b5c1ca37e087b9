"""The home page: today's figures, what opens next, and the work, a section for each kind of it.

A section's function reads its number and its worst rows. It is red once the shop can do no more by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.contrib import admin
from django.db import Error, InterfaceError, OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Max, Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, ngettext, ngettext_lazy
from redis.exceptions import RedisError
from structlog import get_logger

from accounts.operating import approvals
from backoffice import periods
from backoffice.board import snapshots
from backoffice.home import today
from backoffice.page_elements import coupons_left, link, may_view, row_link
from coupons.metrics import state as coupons_state
from coupons.models import Campaign
from events.models import BUILT_IN, WebhookDelivery
from events.webhooks import deliveries
from foundation import clock
from foundation.admin_base.display import Context, age, ago, status_label, stored_text
from foundation.approval_models import Approval
from foundation.db.mysql.patience import statement_limit
from foundation.errors import FirstcomeError
from foundation.lazy_texts import Text
from foundation.models import LawStatus
from foundation.money import format_amount
from foundation.operations.audits.laws import LAWS
from inventory import products, selectors as stock_selectors
from inventory.models import Product
from orders import selectors as order_selectors
from orders.admin import situations
from orders.models import Saga
from orders.payment import refunding
from payments import disputes
from payments.models import Payment, Reconciliation
from payments.reconciliation import reconciling
from sales import metrics as sales_metrics
from sales.models import Sale

log = get_logger(__name__)
T = TypeVar("T")
SECONDS_FOR_A_STATEMENT = 5
"""The server ends a longer one, and the section says that it can't be read."""
ROWS_SHOWN = 5
MOST_COUNTED = 1_000
"""A section counts no further; one more stands for more."""
COUNTED = MOST_COUNTED + 1
MOST_FAILED = 100
"""Refunds that failed, the newest: what is owed of each order is computed."""
LONGEST_ERROR = 120
UNDER_WAY = timedelta(minutes=2)
"""What the shop does by itself takes so long now and then."""
AUDITS_MISSED = 3
"""A law's answer that is older than so many audits is too old."""


class State(StrEnum):
    """How a section is marked: nothing to do, what the shop still does by itself, work to do, what it can do
    nothing about any more, or not readable now.
    """

    CALM = "calm"
    WAITING = "waiting"
    WORK = "work"
    ALARM = "alarm"
    AWAY = "away"


class Row(NamedTuple):
    """One thing to work on: a link to its page, its status as a label, what there is to know, and perhaps a
    button that acts at once.
    """

    link: SafeString
    label: SafeString | str
    detail: str
    button: str = ""


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
    number = order_selectors.count_needing_operator(most=COUNTED)
    sagas = list(order_selectors.read_needing_operator(most=ROWS_SHOWN)) if number else []
    left = order_selectors.filter_out_of_attempts(Saga.objects.all())[:COUNTED].count() if number else 0
    state = State.ALARM if left else State.WORK
    waiting = gettext("waiting for %(age)s")
    note = gettext("The shop still tries by itself. Open each to see what to tell the buyer.")
    if left:
        note = gettext(
            "The shop can do no more by itself. Open each to see what to do. The earliest deadline is first."
        )
    elif clock.now() - sagas[0].deadline_at < UNDER_WAY if sagas else False:
        state = State.WAITING
    return _listed(
        number,
        [
            _row(
                row_link(saga, situations.title(saga)),
                waiting % {"age": age(order_selectors.late_since(saga) or saga.created_at)},
                situations.unanswered(saga)[0],
            )
            for saga in sagas
        ],
        unit=ngettext("payment or refund is stuck", "payments or refunds are stuck", number),
        note=note,
        calm=gettext("No payment or refund is stuck."),
        links=[link(gettext("Show all"), "admin:orders_saga_changelist")],
        state=state,
    )


def waiting_approvals(request: HttpRequest) -> Work:
    """What operators asked for and nobody has decided, the oldest first."""
    number, found = _read(Approval.objects.filter(status=Approval.Status.WAITING), "id")
    return _listed(
        number,
        [
            _row(
                link(approvals.title(one), "admin:shop_approval_change", one.pk),
                *(one.subject, one.asker_name, ago(one.asked_at), one.reason),
            )
            for one in found
        ],
        unit=ngettext(
            "request waits for another member of staff", "requests wait for another member of staff", number
        ),
        note=gettext("The oldest is first."),
        calm=gettext("Nothing waits for an approval."),
    )


def payments_in_doubt(request: HttpRequest) -> Work:
    """Payments whose charge got no answer of the gateway, the oldest first."""
    in_doubt = order_selectors.filter_unsettled(Payment.objects.all(), [Payment.Status.IN_DOUBT])
    if may_view(request, Saga):
        # Those that are stuck stand in their own section.
        stuck = order_selectors.filter_needing_operator(Saga.objects.all())
        in_doubt = in_doubt.exclude(id__in=stuck.values("subject_id"))
    number, oldest = _read(in_doubt, "created_at", "id")
    note = gettext("The oldest is %(age)s old. The shop keeps asking the gateway by itself.")
    is_recent = bool(oldest) and clock.now() - oldest[0].created_at < UNDER_WAY
    return _listed(
        number,
        [_row(row_link(one, one), ago(one.created_at)) for one in oldest],
        unit=ngettext("payment has no answer", "payments have no answer", number),
        note=note % {"age": age(oldest[0].created_at)} if oldest else "",
        calm=gettext("The gateway has answered every charge."),
        links=[
            link(gettext("All payments in doubt"), "admin:payments_payment_changelist", query="show=in_doubt")
        ],
        state=State.WAITING if is_recent else State.WORK,
    )


def open_disputes(request: HttpRequest) -> Work:
    """Refunds that failed after they were done, and disputes that await the shop's answer at the gateway, or
    its decision, the one due first first.
    """
    number, found = _read(disputes.open_disputes().select_related("payment"), "due_at", "id")
    failed = refunding.failed_refunds(most=MOST_FAILED)
    rows = [
        _row(
            row_link(one.order, one.order),
            format_amount(one.card_amount, one.order.currency),
            one.failed_at and ago(one.failed_at),
            status=one.status,
        )
        for one in failed
    ]
    rows += [
        _row(
            row_link(one.payment, one.payment),
            format_amount(one.amount),
            one.due_at and f"{clock.local(one.due_at):%Y-%m-%d %H:%M}",
        )
        for one in found
    ]
    unit = ngettext("charge is disputed", "charges are disputed", number)
    note = gettext("Answer each at the gateway before its time. Until then its amount can't be refunded.")
    if failed:
        unit = ngettext("dispute or failed refund", "disputes and failed refunds", number + len(failed))
        note = gettext(
            "Answer each dispute at the gateway before its time. If a refund failed, refund the order "
            "again on its page."
        )
    return _listed(
        number + len(failed),
        rows[:ROWS_SHOWN],
        unit=unit,
        note=note,
        calm=gettext("No charge is disputed."),
        links=[
            link(gettext("All disputed payments"), "admin:payments_payment_changelist", query="show=disputed")
        ],
    )


def differences(request: HttpRequest) -> Work:
    """What the latest comparisons with the gateway's book have left to do."""
    runs = list(reconciling.latest_runs().values())
    # A difference of recent payments is in the comparison of the whole books too.
    found = {finding["key"]: (finding, run) for run in runs for finding in reconciling.open_findings(run)}
    more = any(run.differences > len(run.findings) for run in runs)
    latest = max(runs, key=lambda run: run.ended_at, default=None)
    is_late = reconciling.is_late_since(latest.ended_at if latest else _began_at())
    note = gettext("The books agree. They were last compared %(ago)s.")
    state = State.WORK if is_late or found else State.CALM
    if more or any(
        finding["kind"] not in reconciling.RESOLVED_BY_SCHEDULE for finding, _run in found.values()
    ):
        state = State.ALARM
    if latest is None and not is_late:
        state = State.WAITING
        note = gettext("The books are compared for the first time within minutes.")
    elif latest is None:
        note = gettext("The books were never compared completely. See in the comparisons why.")
    elif is_late:
        note = gettext("The books were last compared %(ago)s, which is too long. See in the comparisons why.")
    elif found:
        note = gettext("Open each to see what to do. The books were last compared %(ago)s.")
    return Work(
        state=state,
        number=_number_text(COUNTED if more else len(found)) if latest else "",
        unit=ngettext("difference to resolve", "differences to resolve", len(found)),
        note=note % {"ago": ago(latest.ended_at)} if latest else note,
        rows=[
            _row(row_link(run, finding["key"]), reconciling.cause_text(finding))
            for finding, run in list(found.values())[:ROWS_SHOWN]
        ],
        links=[link(gettext("All comparisons"), "admin:payments_reconciliation_changelist")],
    )


def undelivered_events(request: HttpRequest) -> Work:
    """Events that were refused for good or given up, the oldest first."""
    number, found = _read(deliveries.find_dead())
    replay = [link(gettext("Send again"), "admin:events_webhookdelivery_replay_events")]
    dead = f"endpoint__exact={BUILT_IN}&status__exact=failed"
    all_events = link(
        gettext("All events that were not delivered"), "admin:events_webhookdelivery_changelist", query=dead
    )
    return _listed(
        number,
        [
            _row(
                row_link(one, one.type),
                one.order_id and f"order {one.order_id}",
                ago(one.created_at),
                stored_text(one.error)[:LONGEST_ERROR],
            )
            for one in found
        ],
        unit=ngettext("event was not delivered", "events were not delivered", number),
        note=gettext("The oldest is first."),
        calm=gettext("Every event was delivered, or is being retried."),
        links=[all_events, *(replay if request.user.has_perm("shop.change_journalline") else [])],
    )


def running_campaigns(request: HttpRequest) -> Work:
    """The campaigns between their opening and their closing: paused ones first, sold out ones last, and the
    others by their share that is left.
    """
    running = sorted(
        coupons_state.running(),
        key=lambda one: (
            one.paused_at is None,
            one.capacity != 0 and not one.has_left(1),
            1 if one.remaining is None or one.quantity is None else one.remaining / one.quantity,
        ),
    )
    return _running(
        request,
        running,
        most=coupons_state.MOST_RUNNING,
        unit=ngettext("campaign runs", "campaigns run", len(running)),
        idle=gettext("No campaign is running."),
        paused=ngettext_lazy(
            "%(count)s is paused, and issues nothing until you resume it.",
            "%(count)s are paused, and issue nothing until you resume them.",
            "count",
        ),
        details=lambda one: [coupons_left(one)],
    )


def running_sales(request: HttpRequest) -> Work:
    """The sales between their opening and their closing: paused ones first, then the latest opening."""

    def details(sale: Sale) -> list[str]:
        closes = gettext("closes at %(at)s") % {"at": f"{clock.local(sale.closes_at):%Y-%m-%d %H:%M}"}
        if not (sale.is_queued and sale.is_ordered):
            return [closes]
        waiting = sale.last_position - sale.passed_position
        return [closes, gettext("%(count)s waiting") % {"count": f"{waiting:,}"}]

    running = sorted(sales_metrics.running(), key=lambda sale: sale.paused_at is None)
    return _running(
        request,
        running,
        most=sales_metrics.MOST_RUNNING,
        unit=ngettext("sale event runs", "sale events run", len(running)),
        idle=gettext("No sale event is running."),
        paused=ngettext_lazy(
            "%(count)s is paused: its products can't be ordered until you resume it.",
            "%(count)s are paused: their products can't be ordered until you resume them.",
            "count",
        ),
        details=details,
    )


def products_low_on_stock(request: HttpRequest) -> Work:
    """Products of which no more is available than their threshold, the furthest below it first."""
    number, low = _read(stock_selectors.low())
    text = gettext("%(available)s available, low at %(threshold)s")
    return _listed(
        number,
        [
            _row(
                link(one, "product-page", one.pk),
                text % {"available": f"{one.available:,}", "threshold": f"{one.low_stock_threshold or 0:,}"},
                status=products.state(one),
            )
            for one in low
        ],
        unit=ngettext("product is low", "products are low", number),
        note=gettext("The shortest is first. Adjust the stock, or import a delivery."),
        calm=gettext("No product is at or below its threshold."),
        links=[
            link(gettext("All products that are low"), "admin:inventory_product_changelist", query="low=yes")
        ],
    )


def laws(request: HttpRequest) -> Work:
    """The broken laws; if none is, how old the oldest answer is."""
    states = snapshots.read_laws()
    known = [state for state in states if state.holds is not None]
    broken = [state for state in known if not state.holds]
    unknown = [state.law for state in states if state.holds is None]
    oldest_at = min((state.checked_at for state in known if state.checked_at), default=None)
    trusted = timedelta(seconds=AUDITS_MISSED * settings.AUDIT_SECONDS)
    is_old = bool(trusted and oldest_at and clock.now() - oldest_at > trusted)
    is_due = bool(unknown and trusted and clock.now() - _began_at() > trusted)
    calm = (
        ""
        if broken or unknown or is_old
        else gettext("The shop's own checks of money, stock and coupons find no mistake.")
    )
    not_audited = gettext("Not checked yet: %(laws)s.") % {"laws": ", ".join(unknown)} if unknown else ""
    if not known and not is_due:
        not_audited = gettext("The first check is within minutes.")
    recent = gettext("The oldest check is %(age)s old.")
    old = gettext(
        "The oldest check is %(age)s old, which is too old. Ask your engineers to look at the audit."
    )
    how_old = (old if is_old else recent) % {"age": age(oldest_at)} if oldest_at else ""
    state = State.WAITING if unknown else State.CALM
    if broken or is_old or is_due:
        state = State.ALARM if broken else State.WORK
    return Work(
        state=state,
        number=f"{len(broken)}" if broken else f"{len(known)}/{len(LAWS)}",
        unit=ngettext("law is broken", "laws are broken", len(broken)) if broken else gettext("pass"),
        note=" ".join(filter(None, [calm, not_audited, how_old])),
        rows=[
            _row(
                row_link(one),
                gettext(LAWS[one.law]),
                ngettext("%(count)s row breaks it", "%(count)s rows break it", len(one.offenders))
                % {"count": len(one.offenders)},
                one.checked_at and gettext("checked %(ago)s") % {"ago": ago(one.checked_at)},
                status="broken",
            )
            for one in broken[:ROWS_SHOWN]
        ],
        links=[link(gettext("All laws"), "admin:shop_lawstatus_changelist")],
    )


def _began_at() -> datetime:
    """When the shop was set up, or changed by a release."""
    applied = MigrationRecorder.Migration.objects.aggregate(at=Max("applied"))["at"]
    return applied or clock.now()


def _read(rows: "QuerySet[Any]", *order: str) -> tuple[int, list[Any]]:
    """The number of rows up to `COUNTED`, and the first ones to show."""
    number = rows.order_by()[:COUNTED].count()
    return number, list((rows.order_by(*order) if order else rows)[:ROWS_SHOWN]) if number else []


def _listed(
    number: int, rows: Sequence[Row], *, note: str, calm: str, state: State = State.WORK, **more: Any
) -> Work:
    """Rows of which each is work: `note` is shown with some, `calm` without."""
    if not number:
        note = calm
        state = State.CALM
    return Work(number=_number_text(number), rows=rows, note=note, state=state, **more)


def _number_text(number: int) -> str:
    return f"{MOST_COUNTED:,}+" if number > MOST_COUNTED else f"{number:,}"


def _row(link: SafeString, *detail: object, status: str = "", button: str = "") -> Row:
    text = " · ".join(str(part) for part in detail if part)
    return Row(link, status and status_label(status), text, button)


def _running(
    request: HttpRequest,
    running: Sequence[Any],
    *,
    most: int,
    idle: str,
    paused: Text,
    details: Callable[[Any], list[str]],
    **more: Any,
) -> Work:
    """The campaigns or sales that run, which is work while some of them are paused."""
    number = sum(one.paused_at is not None for one in running)
    note = gettext("None is paused.") if running else idle
    pages: Any = admin.site.get_model_admin(type(running[0])) if running else None
    may_pause = pages and pages.has_change_permission(request)
    return Work(
        state=State.WORK if number else State.CALM,
        number=f"{len(running)}{'' if len(running) < most else '+'}",
        note=paused % {"count": number} if number else note,
        rows=[
            _row(
                row_link(one, one.name),
                *details(one),
                one.paused_at and gettext("paused %(ago)s") % {"ago": ago(one.paused_at)},
                status=str(one.status_at(clock.now())),
                button=pages.pause_button(one) if may_pause else "",
            )
            for one in running[:ROWS_SHOWN]
        ],
        **more,
    )


class Section(NamedTuple):
    """A kind of work, shown to those who may view its model, and how it is read; what runs is shown first."""

    name: str
    title: Text
    icon: str
    model: type[Model]
    read: Callable[[HttpRequest], Work]
    runs: bool = False


SECTIONS = (
    Section("sagas", gettext_lazy("Stuck payments and refunds"), "sync_problem", Saga, stuck_sagas),
    Section("approvals", gettext_lazy("Approvals"), "how_to_reg", Approval, waiting_approvals),
    Section("payments", gettext_lazy("Payments in doubt"), "contact_support", Payment, payments_in_doubt),
    Section("disputes", gettext_lazy("Open disputes and failed refunds"), "gavel", Payment, open_disputes),
    Section(
        "differences",
        gettext_lazy("Differences from the gateway's book"),
        "balance",
        Reconciliation,
        differences,
    ),
    Section(
        "events", gettext_lazy("Events not delivered"), "unsubscribe", WebhookDelivery, undelivered_events
    ),
    Section("campaigns", gettext_lazy("Running campaigns"), "campaign", Campaign, running_campaigns, True),
    Section("sales", gettext_lazy("Running sale events"), "storefront", Sale, running_sales, True),
    Section("stock", gettext_lazy("Low stock"), "production_quantity_limits", Product, products_low_on_stock),
    Section("laws", gettext_lazy("The shop's own checks"), "gavel", LawStatus, laws),
)


def dashboard(request: HttpRequest, context: Context) -> Context:
    """What the page shows, for unfold's index of the admin."""
    shown = list(read_sections(request))
    with statement_limit(connection, seconds=SECONDS_FOR_A_STATEMENT):
        figures = _attempt("figures", partial(today.read_figures, request))
        openings = _attempt("openings", partial(today.read_openings, request))
    return context | {
        "title": gettext("Today"),
        "sections": shown,
        "to_do": [section for section, work in shown if work.state in (State.WORK, State.ALARM)],
        "is_waiting": any(work.state == State.WAITING and work.rows for _section, work in shown),
        "is_all_read": all(work.state != State.AWAY for section, work in shown),
        "figures": figures,
        "openings": openings,
        "named": periods.named(),
        "read_at": clock.now(),
    }


def read_sections(request: HttpRequest) -> Iterator[tuple[Section, Work]]:
    """The sections that the account may see; one that can't be read says so, and the others are shown."""
    with statement_limit(connection, seconds=SECONDS_FOR_A_STATEMENT):
        for section in SECTIONS:
            if not may_view(request, section.model):
                continue
            if work := _attempt(section.name, partial(section.read, request)):
                yield section, work
            else:
                note = gettext("It can't be read just now. Load the page again in a moment.")
                yield section._replace(icon="cloud_off"), Work(state=State.AWAY, note=note)


def _attempt(name: str, read: Callable[[], T]) -> T | None:
    """What is read; None if it can't be: the page is opened when something is wrong, so one source must not
    hide the others.
    """
    try:
        return read()
    except (Error, RedisError, FirstcomeError) as error:
        log.warning("a part of the home page can't be read", part=name, error=error)
        if isinstance(error, OperationalError | InterfaceError) and not connection.in_atomic_block:
            # A broken connection would fail all parts after it.
            connection.close_if_unusable_or_obsolete()
        return None
