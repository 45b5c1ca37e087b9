"""Admin pages of the entries of waiting rooms, which only accounts, admissions and orders change."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from sales.models import Sale, SaleEntry
from sales.waiting_room import entries
from shop import clock
from shop.operators.display import status_label
from shop.operators.lists import RecordsAdmin, column

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
class SaleEntryAdmin(RecordsAdmin):
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
    search_fields = ["id", "order", "account__username"]
    search_help_text = _("The id of an entry or of its order, or an account's name")

    shown_status = column(_("status"), lambda entry: status_label(_status_by_clock(entry).value))


def _status_by_clock(entry: SaleEntry) -> SaleEntry.Status:
    """The status by the clock, which may be ahead of what is recorded."""
    recorded = SaleEntry.Status(entry.status)
    return entries.effective_status(recorded, entry.admitted_until, entry.sale, clock.now())
