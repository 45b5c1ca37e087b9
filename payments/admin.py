"""Admin pages of the ledger, webhooks and reconciliations; those of payments are in `orders.admin`."""

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin

from foundation.admin_base.actions import Action, button, calling
from foundation.admin_base.classes import ReadOnlyMixin
from foundation.admin_base.display import Context, stored_text, zoned_text
from foundation.admin_base.lists import (
    ReadOnlyInline,
    RecordsAdmin,
    choice_filter,
    code_filter,
    column,
    parse_uuid,
    plain_column,
)
from foundation.admin_base.status_words import plain_text
from foundation.money import format_amount
from foundation.operations import dispatch
from payments import tasks
from payments.models import Entry, LedgerAccount, Payment, Reconciliation, Transfer, WebhookEvent
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Finding

FIX = "payments.change_reconciliation"
WALLET = LedgerAccount.Kind.WALLET
MOST_SHOWN = 200
"""Findings of a comparison on its page."""
DONE = {
    reconciling.REFUNDED: _("The charge of %(key)s is refunded."),
    reconciling.AGREES: _("The books agree about %(key)s now; nothing was refunded."),
}
DONE_WORDS = {
    "refunded": _("refunded"),
    "refund failed": _("refund failed"),
    "booked": _("booked"),
    "failed": _("failed: see the log"),
    "agrees": _("agrees"),
}
"""What was done about a finding, as it is recorded."""


class EntryInline(ReadOnlyInline):
    model = Entry
    fields = ["account", "amount", "balance_after_amount"]


KINDS = {
    kind.value: (kind.label, Q(kind=kind) & (Q(id__gte=0) if kind == WALLET else Q(id__lt=0)))
    for kind in LedgerAccount.Kind
}
"""The shop's own accounts are the few with ids below zero, which the key finds."""


@admin.register(LedgerAccount)
class LedgerAccountAdmin(RecordsAdmin):
    list_display = ["id", "kind", "user", "balance_amount"]
    list_filter = [choice_filter(_("kind"), "kind__exact", KINDS)]
    list_prefetch_related = ["user"]
    search_fields = ["user__username"]
    search_help_text = _("An account's name")
    ordering = ["id"]
    fields = ["id", "kind", "user", "balance"]

    class Media:
        js = ["admin_base/late.js"]

    @admin.display(description=_("balance"))
    def balance(self, account: LedgerAccount) -> str:
        """What a wallet caches; the page reads the balance of one of the shop's own accounts in parts."""
        if account.kind == LedgerAccount.Kind.WALLET:
            return format_amount(account.balance_amount)
        return format_html(
            '<span aria-live="polite" aria-busy="true" data-failed="{}" data-late="{}">{}</span>',
            gettext("The balance couldn't be read completely. Load the page again."),
            reverse("ledger-balance", args=[account.kind]),
            gettext("Reading the entries…"),
        )


@admin.register(Transfer)
class TransferAdmin(RecordsAdmin):
    list_display = ["kind", "order", "reason", "at"]
    exported = ["kind", "reference", "order_id", "reason", "at"]
    list_prefetch_related = ["order"]
    technical = ["reference"]
    list_filter = ["kind", "at"]
    ordering_of_filters = {"at__gte": ["-at", "-id"]}
    search_fields = ["id"]
    search_help_text = _("The id of a transfer or of an order, or a reference: of a top-up its payment's id")
    fields = ["id", "kind", "reference", "order", "reason", "at"]
    inlines = [EntryInline]

    def search(self, rows: "QuerySet[Transfer]", term: str) -> "QuerySet[Transfer]":
        found = Q(kind__in=Transfer.Kind.values, reference=term)
        id = parse_uuid(term)
        return rows.filter(found if id is None else found | Q(pk=id) | Q(order_id=id))


@admin.register(Entry)
class EntryAdmin(RecordsAdmin):
    list_display = ["account", "amount", "balance_after_amount", "transfer"]
    list_prefetch_related = ["account", "transfer"]
    linked_lookups = ["account__id__exact"]
    search_fields = ["transfer_id", "account__user__username"]
    search_help_text = _("The id of a transfer, or an account's name")


@admin.register(WebhookEvent)
class WebhookEventAdmin(RecordsAdmin):
    list_display = ["shown_event", "received_at", "handled_at", "shown_outcome"]
    exported = ["gateway", "type", "charge_key", "received_at", "handled_at", "outcome"]
    technical = ["type", "event_id", "charge_key", "outcome", "payload"]
    shown_event = column(_("event"), lambda row: plain_text(str(row)))
    shown_outcome = plain_column("outcome", _("outcome"))
    list_filter = [
        code_filter(_("gateway"), "gateway", settings.PAYMENT_GATEWAYS),
        choice_filter(
            _("handled"),
            "handled",
            {
                "no": (_("Not handled"), Q(next_attempt_at__isnull=False)),
                "yes": (_("Handled"), Q(next_attempt_at__isnull=True)),
            },
        ),
    ]
    unindexed_filters = {"gateway"}
    search_fields = ["event_id", "charge_key"]
    search_help_text = _("The id of an event, or the key of a charge")
    fields = [
        "gateway",
        "event_id",
        "type",
        "charge_key",
        "received_at",
        "attempts",
        "next_attempt_at",
        "handled_at",
        "outcome",
    ]

    def search(self, rows: "QuerySet[WebhookEvent]", term: str) -> "QuerySet[WebhookEvent]":
        """The event of an id, by the index that begins with the gateway, or else those of a charge."""
        event = rows.filter(gateway__in=settings.PAYMENT_GATEWAYS, event_id=term)
        return event if event.exists() else rows.filter(charge_key=term)


def _unread(run: Reconciliation) -> str:
    """Why a book could not be read, in the language of the page."""
    if run.unread.startswith("The gateway's book can't be read: "):
        return gettext("The gateway's book can't be read: it doesn't answer, or not as expected.")
    return stored_text(run.unread)


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyMixin, ModelAdmin):
    """Each comparison with what differs and what to do about it; orphaned charges can be refunded."""

    list_display = [
        "started_at",
        "ended_at",
        "since_at",
        "checked",
        "differences",
        "refunded",
        "shown_unread",
    ]
    ordering = ["-id"]
    show_full_result_count = False
    sortable_by = ()
    # Its own template shows everything.
    fields = ["started_at"]
    shown_unread = column(_("unread"), _unread)
    actions_list = ["compare"]
    actions_detail = ["fix"]

    def add_context(self, request: HttpRequest, row: Any, context: Context) -> None:
        shown = row.findings[:MOST_SHOWN]
        context |= {
            "run": row,
            "unread": _unread(row),
            "findings": self._findings(request, shown),
            "not_shown": row.differences - len(shown),
            "is_clean": reconciling.is_clean(row),
            "title": gettext("Comparison of %(at)s") % {"at": zoned_text(row.ended_at)},
        }

    def _findings(self, request: HttpRequest, shown: list[Finding]) -> list[Finding]:
        """Each difference with its payment, if it may be seen, what to do, and whether it may be fixed."""
        keys = [finding["key"] for finding in shown if request.user.has_perm("payments.view_payment")]
        payments = dict(Payment.objects.filter(charge_key__in=keys).values_list("charge_key", "id"))
        return [
            {
                "key": finding["key"],
                "gateway": reconciling.books_of(finding).gateway,
                "cause": reconciling.cause_text(finding),
                "done": _done(finding),
                "advice": reconciling.advice(finding),
                "is_fixable": request.user.has_perm(FIX) and reconciling.is_fixable(finding),
                "payment_id": payments.get(finding["key"]),
            }
            for finding in shown
        ]

    @button(description=_("Compare now"), icon="balance", permissions=[FIX])
    def compare(self, request: HttpRequest) -> Action:
        return Action(
            title=_("Compare the books now"),
            description=_(
                "The shop compares recent payments with the gateway's book, or all of them if it is "
                "time. It refunds charges that came after their payment had ended. Refunds and "
                "disputes that began at the gateway are recorded."
            ),
            perform_keyed=lambda data, call: reconciling.note_request(reason=data["reason"], keyed=call),
            then=partial(dispatch.enqueue, tasks.reconcile),
            once="compare",
            report=lambda _: gettext(
                "The books are being compared. Load the page again to see what is found."
            ),
            back=reverse("admin:payments_reconciliation_changelist"),
        )

    # The findings have the links to it.
    @button(description=_("Refund this charge"), permissions=[FIX], is_useful=lambda request, run: False)
    def fix(self, request: HttpRequest, run: Reconciliation) -> Action:
        key = request.POST.get("key", request.GET.get("key", ""))
        finding = reconciling.finding_of(run, key)
        if finding is None:
            raise Http404
        facts = {
            gettext("Key"): key,
            gettext("Gateway"): reconciling.books_of(finding).gateway,
            gettext("Difference"): reconciling.cause_text(finding),
            gettext("Done"): _done(finding),
            gettext("What to do"): reconciling.advice(finding),
        }
        description = gettext("This charge can't be refunded here. See what to do below.")
        if reconciling.is_fixable(finding):
            description = gettext(
                "Both books are read again first. If the gateway still has the money, it refunds all "
                "of it. This can't be undone."
            )
        return Action(
            title=_("Refund a charge"),
            description=description,
            submit=_("Refund the charge"),
            keep=_("Don't refund"),
            perform=calling(reconciling.fix_finding, run_id=run.pk, key=key),
            report=lambda done: str(DONE[done]) % {"key": key},
            is_dangerous=True,
            rows=[(f"{name}: {value}", "") for name, value in facts.items() if value],
            sent=[("key", key)],
        )


def _done(finding: Finding) -> str:
    """What was done about a finding, in the language of the page."""
    return str(DONE_WORDS.get(finding["done"], finding["done"]))
