"""Admin pages of sales: their terms, their products, pausing, and the public values of their draws."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from sales import entry_counts, pausing, schemas, terms
from sales.admin.sale_forms import SaleForm
from sales.models import Sale, SaleEntry, SaleProduct
from shop import clock
from shop.admin_site import REASON, NonAtomicAdmin, ReasonedChangesMixin
from shop.operators import actions
from shop.operators.display import status_label
from shop.operators.lists import RecordsAdmin
from shop.operators.pausing import PausingMixin
from shop.operators.status_words import status_word

ENTRIES, LINKED_ENTRIES = "entries", "linked_entries"
"""The field with the number of entries, and its name where it is a link to them."""


@admin.register(Sale)
class SaleAdmin(ReasonedChangesMixin, PausingMixin, ModelAdmin, NonAtomicAdmin):
    form = SaleForm
    list_display = ["id", "name", "shown_status", "admission", "rate_per_minute", "opens_at", "closes_at"]
    list_filter = ["admission", "opens_at"]
    search_fields = ["name"]
    ordering = ["-id"]
    # Never `seed` itself: until the draw it would give away the order.
    readonly_fields = [
        "shown_status",
        "paused_at",
        ENTRIES,
        "seed_hash",
        "public_seed",
        "entries_hash",
        "drawn_count",
        "drawn_at",
        "last_position",
        "passed_position",
        "last_admitted_at",
        "ended_at",
        "created_at",
    ]
    fields = [*SaleForm.Meta.fields, *readonly_fields]
    actions = ["pause_selected", "resume_selected"]
    actions_detail = ["pause", "resume"]

    @display(description=_("status"))
    def shown_status(self, sale: Sale) -> str:
        return "-" if sale.pk is None else status_label(sale.status_at(clock.now()))

    @admin.display(description=_("seed"))
    def public_seed(self, sale: Sale) -> str:
        if sale.pk is None:
            return "-"
        return schemas.public_seed(sale) or gettext("Secret until the draw at the opening.")

    @admin.display(description=_("sale entries"))
    def entries(self, sale: Sale) -> str:
        """How many there are by their status."""
        if sale.pk is None:
            return "-"
        # Unfold renders the field five times for a page, and the count reads an index of all entries.
        if "entries_text" not in vars(sale):
            counts = entry_counts.by_status([sale.pk])[sale.pk]
            words = [f"{status_word(one)} {counts[one]:,}" for one in SaleEntry.Status.values]
            vars(sale)["entries_text"] = " · ".join(words)
        return str(vars(sale)["entries_text"])

    @admin.display(description=_("sale entries"))
    def linked_entries(self, sale: Sale) -> str:
        """A link to them, for accounts that may see them."""
        address = f"{reverse('admin:sales_saleentry_changelist')}?sale={sale.pk}"
        return format_html('<a href="{}" class="text-link underline">{}</a>', address, self.entries(sale))

    def get_fields(self, request: HttpRequest, obj: Sale | None = None) -> Any:
        """A new sale's page carries the form's id too; one that may not be changed shows no form's fields."""
        if obj is None:
            return [*self.fields, "form_id"]
        fields = list(self.fields)
        if request.user.has_perm("sales.view_saleentry"):
            fields[fields.index(ENTRIES)] = LINKED_ENTRIES
        if self.has_change_permission(request, obj):
            return fields
        return ["name", "shown_products", *fields[2:]]

    def get_readonly_fields(self, request: HttpRequest, obj: Sale | None = None) -> list[str]:
        if obj is None:
            return self.readonly_fields
        now, fixed = clock.now(), ["shown_products", LINKED_ENTRIES]
        if now >= obj.opens_at:
            fixed += terms.FIXED_ONCE_OPEN
        if now >= obj.closes_at:
            fixed += [one for one in terms.TERMS if one not in (*terms.KEPT_ONCE_CLOSED, *fixed)]
        return [*self.readonly_fields, *fixed]

    @admin.display(description=_("products"))
    def shown_products(self, sale: Sale) -> str:
        found = SaleProduct.objects.filter(sale=sale).select_related("product").order_by("product")
        return ", ".join(str(one.product) for one in found) or "-"

    def save_model(self, request: HttpRequest, obj: Sale, form: Any, change: bool) -> None:
        """Write only the fields that were changed here: the page's copy of the others may be out of date."""
        given = form.terms(form.changed_data if change else SaleForm.Meta.fields)
        if change:
            terms.change(sale_id=obj.pk, **given, reason=form.cleaned_data[REASON])
            return
        id = form.cleaned_data["form_id"]
        obj.pk = actions.create_once(request, id, "create sale", lambda: terms.create(**given), meaning=given)

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Sale:
        return pausing.set_paused(sale_id=row_id, is_paused=is_paused, reason=reason)

    def has_delete_permission(self, request: HttpRequest, obj: Sale | None = None) -> bool:
        """Never: its entries and order lines refer to it."""
        return False


@admin.register(SaleProduct)
class SaleProductAdmin(RecordsAdmin):
    """Which products each sale has; they are changed on the sale's page."""

    list_display = ["id", "sale", "product"]
    list_prefetch_related = ["sale", "product"]
    linked_lookups = ["sale__id__exact", "product__id__exact"]
    search_fields = ["product__sku"]
    search_help_text = _("The whole sku of a product")
