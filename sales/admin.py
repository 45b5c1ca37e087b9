"""Admin pages of sales: their terms, products, pausing, entries, and the public values of their draws."""

import re
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.translation import gettext, gettext_lazy as _

from accounts.operating import row_checks
from accounts.operating.pausing_admin import PausableAdmin, Template, tomorrow_at_ten
from accounts.operating.row_checks import Check
from foundation import clock, form_fields
from foundation.admin_base.display import Context, link, zoned_text
from foundation.admin_base.forms import TermsForm
from foundation.admin_base.lists import RecordsAdmin, column, key_column
from foundation.admin_base.status_words import status_word
from foundation.money import format_amount
from inventory.models import Product
from sales import metrics, schemas, terms
from sales.models import Sale, SaleEntry, SaleProduct

PRODUCTS = "products"
RATE = _("Buyers let in per minute")
MINUTES = _("Minutes to order in")
ID = re.compile(r"[0-9]{1,19}")


class ProductChoices(AutocompleteJsonView):
    """Products that the form's search finds, with their price and stock."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        left = gettext("%(count)s left") % {"count": f"{obj.available:,}"}
        text = f"{obj} · {format_amount(obj.price)} · {left}"
        return super().serialize_result(obj, to_field_name) | {"text": text}


class ProductsWidget(AutocompleteSelectMultiple):
    """Shows a refused form again without the values that are no ids: Django's would look for them, and fail.

    The field for the search has the label's text for screen readers too, which Select2 gives to no field.
    """

    @property
    def media(self) -> forms.Media:
        # Django orders only the scripts of one list.
        return super().media + forms.Media(js=["admin/js/autocomplete.js", "admin_base/searched_lists.js"])

    def get_url(self) -> str:
        return reverse("admin:sales_sale_products")

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        return super().optgroups(name, [one for one in value if ID.fullmatch(str(one))], attr)


class SaleForm(TermsForm):
    products = forms.ModelMultipleChoiceField(
        label=_("Products"),
        queryset=Product.objects.all(),
        # Searched by the server: a page with all products as choices would be too long.
        widget=ProductsWidget(SaleProduct._meta.get_field("product"), admin.site),
        help_text=_(
            "Search by SKU or name. From now on, also before the opening, they can be bought only in this "
            "sale event. A product can be in one sale event at a time."
        ),
    )
    rate_per_minute = form_fields.WholeNumberField(
        label=RATE,
        initial=terms.DEFAULT_RATE,
        min_value=1,
        max_value=terms.HIGHEST_RATE,
        help_text=_("At most so many in each minute."),
    )
    admitted_for_seconds = form_fields.MinutesField(
        label=MINUTES,
        initial=terms.DEFAULT_ADMITTED_FOR_SECONDS,
        min_value=1,
        max_value=terms.LONGEST_ADMISSION_SECONDS,
        help_text=_("How long a buyer who was let in may order."),
    )

    class Meta:
        model = Sale
        fields = [
            "name",
            PRODUCTS,
            "opens_at",
            "closes_at",
            "admission",
            "rate_per_minute",
            "admitted_for_seconds",
        ]
        # Where they are read-only.
        labels = {"rate_per_minute": RATE, "admitted_for_seconds": MINUTES}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Those of an account that may not change sales are read-only, and not fields of the form.
        if self.instance.pk and PRODUCTS in self.fields:
            self.initial[PRODUCTS] = sorted(terms.product_ids_of(self.instance.pk))
            # A sale may give up all of them.
            self.fields[PRODUCTS].required = False


def _closing(hours: int) -> Context:
    """So long after the opening of a template."""
    return {"closes_at": tomorrow_at_ten() + timedelta(hours=hours)}


TEMPLATES = {
    "drop": Template(
        _("Drop with a waiting room"),
        _(
            "Tomorrow at 10:00, for an hour. Buyers join the waiting room before. Their order is drawn "
            "at the opening, and 600 a minute get in."
        ),
        lambda: {**_closing(1), "admission": Sale.Admission.QUEUE, "rate_per_minute": 600},
    ),
    "open": Template(
        _("Open to all"),
        _("Tomorrow at 10:00, for an hour. All buyers order at the same time, first come, first served."),
        lambda: {**_closing(1), "admission": Sale.Admission.OPEN},
    ),
    "day": Template(
        _("One day"),
        _("From tomorrow at 10:00, for 24 hours, open to all."),
        lambda: {**_closing(24), "admission": Sale.Admission.OPEN},
    ),
}
ENTRIES = "entries"
LINKED_ENTRIES = "linked_entries"
"""The field with the number of entries, and its name where it is a link to them."""


@admin.register(Sale)
class SaleAdmin(PausableAdmin):
    form = SaleForm
    domain = terms
    list_display = ["name", "shown_status", "admission", "rate_per_minute", "opens_at", "closes_at"]
    technical = ["seed_hash", "public_seed", "entries_hash"]
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
    actions_detail = ["pause", "resume", "explain"]
    templates = TEMPLATES
    meanings = {
        "scheduled": _("Its products can't be ordered until it opens."),
        "open": _("Its products can be ordered now."),
        "closed": _("It is over. Its products can't be ordered in it any more."),
    }
    open_parts = {_("Admission"): ["admission", "rate_per_minute", "admitted_for_seconds"]}
    parts = {_("Waiting room, draw and figures"): [*readonly_fields, LINKED_ENTRIES]}

    def get_urls(self) -> list[Any]:
        choices = ProductChoices.as_view(admin_site=self.admin_site)
        return [
            path("products/", self.admin_site.admin_view(choices), name="sales_sale_products"),
            *super().get_urls(),
        ]

    def checks(self, row: Sale) -> list[Check]:
        products = Product.objects.filter(sale_products__sale=row.pk)
        names = [one.name for one in products if not one.available or not one.is_active or one.paused_at]
        units = metrics.available(row)
        text = gettext("Units in stock: %(count)s") % {"count": f"{units:,}"}
        if names:
            missing = gettext("can't be ordered: %(names)s") % {"names": ", ".join(names[:5])}
            text = f"{text}; {missing}"
        found = [row_checks.opening(row.opens_at), Check(bool(units) and not names, text, field=PRODUCTS)]
        unlimited = [one.name for one in products if one.limit_per_account is None]
        text = gettext("Every product has a limit per account")
        if unlimited:
            text = gettext("No limit per account: %(names)s") % {"names": ", ".join(unlimited[:5])}
        found.append(Check(True, text, field=PRODUCTS))
        if row.is_queued:
            seconds = 60 * max(0, units - 1) // row.rate_per_minute
            last = row.opens_at + timedelta(seconds=seconds)
            text = gettext("Buyers let in each minute: %(rate)s. Number %(last)s gets in at %(at)s")
            values = {"rate": f"{row.rate_per_minute:,}", "last": f"{units:,}", "at": zoned_text(last)}
            found.append(Check(last < row.closes_at, text % values, field="rate_per_minute"))
        return [*found, row_checks.gateway()]

    def left_text(self, row: Sale) -> str:
        return gettext("%(count)s left") % {"count": f"{metrics.available(row):,}"}

    public_seed = column(
        _("seed"), lambda sale: schemas.public_seed(sale) or gettext("Secret until the draw at the opening.")
    )

    @admin.display(description=_("sale entries"))
    def entries(self, sale: Sale) -> str:
        """How many there are by their status."""
        # Unfold renders the field five times for a page, and the count reads an index of all entries.
        if "entries_text" not in vars(sale):
            counts = metrics.entries_by_status([sale.pk])[sale.pk]
            words = [f"{status_word(one)} {counts[one]:,}" for one in SaleEntry.Status.values]
            vars(sale)["entries_text"] = " · ".join(words)
        return str(vars(sale)["entries_text"])

    @admin.display(description=_("sale entries"))
    def linked_entries(self, sale: Sale) -> str:
        """A link to them, for accounts that may see them."""
        query = f"sale__id__exact={sale.pk}"
        return link(self.entries(sale), "admin:sales_saleentry_changelist", query=query)

    def get_fields(self, request: HttpRequest, obj: Sale | None = None) -> Any:
        shown = {ENTRIES: LINKED_ENTRIES} if request.user.has_perm("sales.view_saleentry") else {}
        return [shown.get(name, name) for name in super().get_fields(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: Sale | None = None) -> list[str]:
        if obj is None:
            return self.readonly_fields
        now = clock.now()
        fixed = [LINKED_ENTRIES]
        if now >= obj.opens_at:
            fixed += [*terms.FIXED_ONCE_OPEN, "admitted_for_seconds"]
        if now >= obj.closes_at:
            fixed += [one for one in terms.TERMS if one not in (*terms.KEPT_ONCE_CLOSED, *fixed)]
        return [*self.readonly_fields, *fixed]

    @admin.display(description=_("products"))
    def products(self, sale: Sale) -> str:
        """For accounts that may not change them."""
        found = sale.sale_products.select_related("product").order_by("product")
        return ", ".join(str(one.product) for one in found) or "-"

    def given_terms(self, form: Any, names: Collection[str]) -> Context:
        given = super().given_terms(form, names)
        if PRODUCTS in given:
            given["product_ids"] = sorted(product.pk for product in given.pop(PRODUCTS))
        return given


@admin.register(SaleEntry)
class SaleEntryAdmin(RecordsAdmin):
    list_display = [
        "account",
        "shown_status",
        "sale",
        "position",
        "created_at",
        "admitted_at",
        "admitted_until",
        "order",
    ]
    exported = ["sale", "account", "shown_status", "position", *list_display[4:7], "order_key"]
    list_prefetch_related = ["sale", "account", "order"]
    list_filter = ["status", "created_at"]
    # Entries of a sale may be far apart from each other, among those of sales that ran beside it.
    unindexed_filters = {"sale__id__exact", "status__exact", "created_at__gte", "created_at__lt"}
    linked_lookups = ["account__id__exact", "sale__id__exact"]
    search_fields = ["id", "order", "account__username"]
    search_help_text = _("The id of an entry or of its order, or an account's name")

    order_key = key_column("order_id", _("order"))
