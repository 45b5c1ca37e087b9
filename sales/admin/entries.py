"""Admin pages of the entries of waiting rooms, which only accounts, admissions and orders change."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from sales.models import Sale, SaleEntry
from sales.waiting_room import entries
from shop import clock
from shop.admin_site import ReadOnlyMixin
from shop.operators.display import status_label
from shop.operators.lists import ExactSearchMixin, PrefetchedListMixin

SALES_OFFERED = 20


class SaleFilter(admin.SimpleListFilter):
    """The newest sales; links choose any other one."""

    title, parameter_name = _("sale"), "sale"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        newest = Sale.objects.order_by("-pk").values_list("pk", "name")[:SALES_OFFERED]
        return [(str(pk), name) for pk, name in newest]

    def has_output(self) -> bool:
        """Also without any sale: the list then still knows the filter that links use."""
        return True

    def queryset(self, request: HttpRequest, queryset: "QuerySet[SaleEntry]") -> "QuerySet[SaleEntry]":
        chosen = self.value()
        if chosen is None:
            return queryset
        is_id = chosen.isascii() and chosen.isdigit() and len(chosen) < len(str(2**63))
        return queryset.filter(sale_id=int(chosen)) if is_id else queryset.none()


@admin.register(SaleEntry)
class SaleEntryAdmin(ExactSearchMixin, PrefetchedListMixin, ReadOnlyMixin, ModelAdmin):
    list_display = [
        "id",
        "sale",
        "account",
        "shown_status",
        "position",
        "created_at",
        "admitted_at",
        "admitted_until",
        "order",
    ]
    list_prefetch_related = ["sale", "account"]
    list_filter = [SaleFilter, "status", "created_at"]
    # Entries of a sale may be far apart from each other, among those of sales that ran beside it.
    unindexed_filters = {"sale", "status__exact", "created_at__gte", "created_at__lt"}
    linked_lookups = ["account__id__exact"]
    search_fields = uuid_fields = ["id", "order"]
    word_fields = ["account__username"]
    search_help_text = _("The id of an entry or of its order, or an account's name")
    ordering = ["-id"]

    @display(description=_("status"))
    def shown_status(self, entry: SaleEntry) -> str:
        """The status by the clock, which may be ahead of what is recorded."""
        recorded = SaleEntry.Status(entry.status)
        now = clock.now()
        status = entries.effective_status(recorded, entry.admitted_until, entry.sale, now)
        return status_label(status.value)
