"""Read-only admin pages of the ledger and the payments."""

from django.contrib import admin
from django.db.models import Sum
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from unfold.admin import ModelAdmin, TabularInline

from payments.models import Entry, LedgerAccount, Payment, Reconciliation, Transfer, WebhookEvent
from shop.admin_site import ReadOnlyMixin


class EntryInline(ReadOnlyMixin, TabularInline):
    model = Entry
    fields = ["account", "amount", "balance_after_amount"]
    extra = 0


@admin.register(LedgerAccount)
class LedgerAccountAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["id", "kind", "user", "balance_amount"]
    list_filter = ["kind"]
    list_select_related = ["user"]
    search_fields = ["user__username"]
    ordering = ["id"]
    show_full_result_count = False
    fields = ["id", "kind", "user", "sum_of_entries"]

    @admin.display(description="balance")
    def sum_of_entries(self, account: LedgerAccount) -> int:
        """The sum of the entries, because the shop's own accounts cache no balance."""
        total: int | None = account.entries.aggregate(total=Sum("amount"))["total"]
        return total or 0


@admin.register(Transfer)
class TransferAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["id", "kind", "reference", "order", "reason", "at"]
    list_filter = ["kind", "at"]
    list_select_related = ["order"]
    search_fields = ["reference", "reason"]
    ordering = ["-id"]
    show_full_result_count = False
    fields = ["id", "kind", "reference", "order", "reason", "at"]
    inlines = [EntryInline]


@admin.register(Entry)
class EntryAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["id", "account", "amount", "balance_after_amount", "transfer"]
    list_select_related = ["account", "transfer"]
    search_fields = ["account__user__username", "transfer__reference"]
    ordering = ["-id"]
    show_full_result_count = False


@admin.register(Payment)
class PaymentAdmin(ReadOnlyMixin, ModelAdmin):
    """Shows every field but the card's token."""

    list_display = ["id", "order", "account", "status", "points_amount", "card_amount", "created_at"]
    list_filter = ["status", "created_at"]
    list_select_related = ["order", "account"]
    search_fields = ["charge_key", "charge_reference", "account__username"]
    ordering = ["-id"]
    show_full_result_count = False
    fields = [
        "id",
        "order",
        "account",
        "status",
        "points_amount",
        "card_amount",
        "refunding_amount",
        "refunded_amount",
        "currency",
        "charge_key",
        "charge_reference",
        "failure_code",
        "failure_detail",
        "created_at",
        "settled_at",
    ]


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["id", "gateway", "type", "charge_key", "received_at", "handled_at", "outcome"]
    list_filter = ["gateway", "type", ("handled_at", admin.EmptyFieldListFilter)]
    search_fields = ["event_id", "charge_key"]
    ordering = ["-id"]
    show_full_result_count = False
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


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = [
        "id",
        "started_at",
        "ended_at",
        "since_at",
        "checked",
        "differences",
        "refunded",
        "unread",
    ]
    ordering = ["-id"]
    show_full_result_count = False
    fields = [
        "started_at",
        "ended_at",
        "since_at",
        "until_at",
        "checked",
        "differences",
        "refunded",
        "unread",
        "in_words",
    ]

    @admin.display(description="findings")
    def in_words(self, run: Reconciliation) -> str:
        """A line for each difference: the key, the cause, and what was done about it."""
        lines = [": ".join(filter(None, finding.values())) for finding in run.findings]
        return format_html_join(mark_safe("<br>"), "{}", ([line] for line in lines)) or "none"
