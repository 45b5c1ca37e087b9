"""Admin pages of idempotency keys, transactions, laws, the journal and approvals."""

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin

from shop.admin_base import approval_admin, journal_admin  # noqa: F401 - their pages
from shop.admin_base.classes import ReadOnlyMixin
from shop.admin_base.display import status_label
from shop.admin_base.lists import RecordsAdmin, column
from shop.management import laws
from shop.models import AuditState, CommittedTransaction, IdempotencyKey, LawStatus


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(RecordsAdmin):
    list_display = ["id", "account", "status", "reference", "created_at"]
    list_filter = ["created_at"]
    ordering_of_filters = {"created_at__gte": ["-created_at", "-id"]}
    list_prefetch_related = ["account"]
    search_fields = ["account__username"]
    search_help_text = _("An account's name")


@admin.register(CommittedTransaction)
class CommittedTransactionAdmin(RecordsAdmin):
    """Marks of the last day's transactions that must be committed once."""

    list_display = ["id", "at"]
    list_filter = ["at"]
    search_fields = ["id"]
    ordering = ["-at"]


@admin.register(LawStatus)
class LawStatusAdmin(ReadOnlyMixin, ModelAdmin):
    """The laws, as the scheduled audit last found them."""

    list_display = ["law", "says", "answer", "since", "checked_at", "full_at", "not_checked"]
    list_filter = ["holds"]
    ordering = ["holds", "law"]
    fields = ["law", "says", "answer", "since", "offender_list", "checked_at", "full_at"]
    fields += ["checked", "took", "not_checked"]

    answer = column(_("answer"), lambda status: status_label("holds" if status.holds else "broken"))

    says = column(_("says"), lambda status: gettext(laws.LAWS[status.law]) if status.law in laws.LAWS else "")
    offender_list = column(
        _("offenders"),
        lambda status: (
            format_html_join(mark_safe("<br>"), "{}", ([one] for one in status.offenders)) or gettext("none")
        ),
    )


@admin.register(AuditState)
class AuditStateAdmin(ReadOnlyMixin, ModelAdmin):
    """The scheduled audit's lease, its marks, and how far the full audit is."""

    list_display = ["__str__", "audited_at", "full_at", "leased_until"]
    fields = ["audited_at", "full_at", "leased_until", "marks", "progress"]
