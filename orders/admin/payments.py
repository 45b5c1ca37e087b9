"""The admin of payments: those in doubt first, with a button that asks the gateway now.

Payments are models of `payments`, and their pages are here because the sagas of this app settle them: they
find the payments that are in doubt, and take up the gateway's answer.
"""

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_lazy as _
from unfold.decorators import display
from unfold.enums import ActionVariant

from foundation.admin_base.actions import Action, button
from foundation.admin_base.display import OF_DISPUTES, Context, exact_text, link, status_label, stored_text
from foundation.admin_base.lists import EVERYTHING, RecordsAdmin, choice_filter, column
from foundation.admin_base.status_words import status_word
from foundation.models import JournalLine
from foundation.money import format_amount
from foundation.operations import dispatch
from orders import selectors as order_selectors, tasks
from orders.admin import situations
from orders.admin.orders import number_text
from orders.models import Saga
from orders.payment import gateway_lookups
from payments import disputes, gateways, rows as payment_rows, selectors
from payments.models import Payment
from payments.transitions import UNSETTLED


def _in_doubt(payments: "QuerySet[Payment]") -> "QuerySet[Payment]":
    return order_selectors.filter_unsettled(payments, (Payment.Status.IN_DOUBT,))


STATES: Any = {
    "in_doubt": (_("In doubt"), _in_doubt),
    "requires_action": (
        _("Waiting for the customer"),
        lambda rows: order_selectors.filter_unsettled(rows, (Payment.Status.PENDING,)).filter(
            payment_rows.with_action()
        ),
    ),
    "unsettled": (_("Not finished"), lambda rows: order_selectors.filter_unsettled(rows, UNSETTLED)),
    "disputed": (_("Disputed"), lambda rows: rows.filter(id__in=disputes.open_disputes().values("payment"))),
    EVERYTHING: (_("All"), Q()),
}


@admin.register(Payment)
class PaymentAdmin(RecordsAdmin):
    """Shows every field but the card's token."""

    subjects = ("payment", "purchase", "top_up")
    list_display = ["about", "shown_status", "card_amount", "points_amount", "account", "created_at"]
    exported = ["order_key", "account", "shown_status", "points_amount", "card_amount", "created_at"]
    change_form_before_template = "admin/orders/money.html"
    technical = [
        "number",
        "keep_on_decline",
        "currency",
        "gateway_account",
        "charge_key",
        "charge",
        "failure_code",
        "saga",
    ]
    list_filter = [
        choice_filter(
            _("state"),
            "show",
            STATES,
            opened_with=lambda: "in_doubt" if _in_doubt(Payment.objects.all()).exists() else EVERYTHING,
        ),
        "created_at",
    ]
    ordering_of_filters = {"created_at__gte": ["-created_at", "-id"]}
    list_filter_sheet = False
    list_prefetch_related = ["account", "order"]
    search_fields = ["id", "order_id", "charge_key", "account__username"]
    search_help_text = format_lazy(
        _(
            "The id of a payment or order, the key of a charge, or an account's name; of the newest "
            "{count} charges also the reference"
        ),
        count=f"{selectors.NEWEST_WITH_REFERENCE:,}",
    )
    actions_detail = ["look_up"]
    fields = [
        "order_page",
        "account",
        "shown_status",
        "next_action",
        "number",
        "keep_on_decline",
        "points_amount",
        "card_amount",
        "refunding_amount",
        "refunded_amount",
        "dispute",
        "currency",
        "gateway",
        "gateway_account",
        "charge_key",
        "charge",
        "failure_code",
        "shown_failure",
        "saga",
        "looked_up",
        "created_at",
        "settled_at",
        "id",
    ]

    about = column(
        _("order"),
        lambda row: number_text(row.order) if row.order else gettext("top-up"),
        ordering="order_id",
    )
    order_key = column(_("order"), lambda row: row.order_id or gettext("top-up"))
    order_page = column(
        _("order"),
        lambda row: (
            link(row.order, "admin:orders_order_change", row.order_id) if row.order_id else gettext("top-up")
        ),
        ordering="order_id",
    )
    shown_status = column(_("status"), lambda row: status_label(row.shown_status), ordering="status")
    shown_failure = column(_("failure detail"), lambda row: stored_text(row.failure_detail))

    def add_context(self, request: HttpRequest, row: Payment, context: Context) -> None:
        context["money"] = situations.money_text(row)
        saga = situations.unfinished(row)
        context["situation"] = saga and situations.read(saga)

    @display(description=_("confirmation by the customer"))
    def next_action(self, payment: Payment) -> str:
        """Until when the card's owner may confirm it; the address of their page is theirs alone."""
        if payment.action_expires_at is None:
            return "-"
        until = exact_text(payment.action_expires_at)
        said = (
            gettext("until %(time)s, not done yet") if payment.requires_action else gettext("until %(time)s")
        )
        return said % {"time": until}

    @display(description=_("dispute"))
    def dispute(self, payment: Payment) -> str:
        if (dispute := disputes.shown_dispute(payment.disputes.all())) is None:
            return "-"
        label = status_label(dispute.status, OF_DISPUTES)
        return format_html("{} {}", label, format_amount(dispute.amount, payment.currency))

    @display(description=_("charge at the gateway"))
    def charge(self, payment: Payment) -> str:
        page = gateways.charge_page(payment.books.gateway, payment.charge_reference)
        if not page:
            return payment.charge_reference or "-"
        link = '<a href="{}" class="underline" target="_blank" rel="noopener noreferrer">{}</a>'
        return format_html(link, page, payment.charge_reference)

    @display(description=_("saga"))
    def saga(self, payment: Payment) -> str:
        saga = Saga.objects.filter(subject_id=payment.pk, kind__in=("purchase", "top_up")).first()
        return (
            link(f"{status_word(saga.kind)}, {saga.get_state_display()}", "admin:orders_saga_change", saga.pk)
            if saga
            else "-"
        )

    @display(description=_("last asked by staff"))
    def looked_up(self, payment: Payment) -> str:
        lines = JournalLine.objects.filter(subject=f"payment {payment.pk}", what=gateway_lookups.LOOKED_UP)
        line = lines.order_by("-id").first()
        # Its first sentence: the second one says what the payment was then.
        said = (line.after or {}).get("answer", "").partition(". ")[0] if line else ""
        return f"{exact_text(line.at)} {stored_text(f'{said}.')}" if line else "-"

    def search(self, rows: "QuerySet[Payment]", term: str) -> "QuerySet[Payment]":
        """The payment of an id, order or key, those of an account; else a recent charge by its reference."""
        found = super().search(rows, term)
        if found.query.is_empty():
            return selectors.recent_with_charge_reference(term, among=rows)
        return found

    @button(
        description=_("Ask the gateway now"),
        icon="sync",
        permissions=["payments.change_payment"],
        variant=ActionVariant.PRIMARY,
        # A payment by points alone is not known to the gateway.
        is_useful=lambda request, payment: payment.card_amount > 0,
    )
    def look_up(self, request: HttpRequest, payment: Payment) -> Action:
        return Action(
            title=_("Ask the gateway now"),
            description=_(
                "The gateway says what it has of this payment; nothing changes there. Refunds and "
                "disputes that began there are recorded here. An unfinished payment goes on at once."
            ),
            submit=_("Ask the gateway"),
            perform_keyed=lambda data, call: gateway_lookups.look_up(
                payment_id=payment.pk, reason=data["reason"], keyed=call
            ),
            then=partial(dispatch.enqueue_shared, tasks.advance),
            once=f"look up {payment.pk}",
            report=lambda found: gateway_lookups.in_words(*found),
        )
