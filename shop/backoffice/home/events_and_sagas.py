"""Sections of the home page: stuck sagas, what waits for an approval, and dead events."""

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from orders.saga import operator_texts
from orders.saga import status as saga_status
from orders.saga.status import SagaStatus
from shop import approvals
from shop.approval_models import Approval
from shop.backoffice.home.parts import COUNTED, ROWS_SHOWN, Row, Section, State, age, ago, number_text
from shop.backoffice.page_elements import link
from shop.events.replaying import EventFilter
from shop.operators.display import status_label, stored_text

SAGAS = "admin:orders_saga_changelist"
REPLAY = "shop.change_journalline"
LONGEST_ERROR = 120


def stuck_sagas(request: HttpRequest) -> Section:
    """Sagas that need an operator, the earliest deadline first."""
    number = saga_status.count_needing_operator(most=COUNTED)
    rows = [_saga_row(saga) for saga in saga_status.read_needing_operator(most=ROWS_SHOWN)] if number else []
    return Section(
        name="sagas",
        title=_("Sagas that need an operator"),
        icon="sync_problem",
        state=State.ALARM if number else State.CALM,
        number=number_text(number),
        unit=ngettext("needs an operator", "need an operator", number),
        note=_("The earliest deadline is first.")
        if number
        else _("Nothing to do: no saga needs an operator."),
        rows=rows,
        links=[link(_("All sagas that need an operator"), SAGAS)],
    )


def waiting_approvals(request: HttpRequest) -> Section:
    """What operators asked for and nobody has decided, the oldest first."""
    waiting = Approval.objects.filter(status=Approval.Status.WAITING).order_by("id")
    number = waiting.order_by()[:COUNTED].count()
    rows = [
        Row(
            link=link(approvals.ACTS[approval.kind].title, "admin:shop_approval_change", approval.pk),
            detail=" · ".join(
                [approval.subject, approval.asker_name, ago(approval.asked_at), approval.reason]
            ),
        )
        for approval in (waiting[:ROWS_SHOWN] if number else ())
    ]
    return Section(
        name="approvals",
        title=_("Approvals"),
        icon="how_to_reg",
        state=State.WORK if number else State.CALM,
        number=number_text(number),
        unit=ngettext("waits for a second operator", "wait for a second operator", number),
        note=_("The oldest is first.") if number else _("Nothing to do: nothing waits for an approval."),
        rows=rows,
        links=[link(_("All approvals"), "admin:shop_approval_changelist")],
    )


def dead_events_section(request: HttpRequest) -> Section:
    """Events that were refused for good or given up, the oldest first."""
    lines = EventFilter().lines()
    number = lines.order_by()[:COUNTED].count()
    rows = [
        Row(
            link=link(line.what, "admin:shop_journalline_change", line.pk),
            detail=" · ".join(
                filter(None, [line.subject, ago(line.at), stored_text(line.last_error)[:LONGEST_ERROR]])
            ),
        )
        for line in (lines[:ROWS_SHOWN] if number else ())
    ]
    links = [link(_("All dead events"), "admin:shop_journalline_changelist", query="delivery__exact=dead")]
    if request.user.has_perm(REPLAY):
        links.append(link(_("Replay"), "admin:shop_journalline_replay_events"))
    return Section(
        name="events",
        title=_("Dead events"),
        icon="unsubscribe",
        state=State.WORK if number else State.CALM,
        number=number_text(number),
        unit=ngettext("was not delivered", "were not delivered", number),
        note=_("The oldest is first.")
        if number
        else _("Nothing to do: every event was delivered, or is retried."),
        rows=rows,
        links=links,
    )


def _saga_row(saga: SagaStatus) -> Row:
    since = (
        _("late for %(age)s") % {"age": age(saga.late_since)}
        if saga.late_since
        else _("began %(ago)s") % {"ago": ago(saga.created_at)}
    )
    attempts = ngettext("%(count)s failed attempt", "%(count)s failed attempts", saga.attempts)
    parts = [
        operator_texts.position(saga.direction, saga.step) if saga.step else "",
        since,
        attempts % {"count": saga.attempts} if saga.attempts else "",
        stored_text(saga.last_error)[:LONGEST_ERROR],
    ]
    return Row(
        link=link(f"{saga.kind} {str(saga.saga_id)[-12:]}", "admin:orders_saga_change", saga.saga_id),
        label=status_label(saga.state),
        detail=" · ".join(filter(None, parts)),
    )
