"""The form of the admin's page of a sale."""

import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.utils.translation import gettext_lazy as _

from inventory.models import Product
from sales import terms
from sales.models import Sale, SaleProduct
from shop import form_fields
from shop.operators.forms import ChangeForm, EditForm, FormIdField

PRODUCTS = "products"
ID = re.compile(r"[0-9]{1,19}")


class ProductsWidget(AutocompleteSelectMultiple):
    """Shows a refused form again without the values that are no ids: Django's would look for them, and fail.

    The field for the search has the label's text for screen readers too, which Select2 gives to no field.
    """

    @property
    def media(self) -> forms.Media:
        # Django orders only the scripts of one list.
        return super().media + forms.Media(js=["admin/js/autocomplete.js", "operators/searched_lists.js"])

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        return super().optgroups(name, [one for one in value if ID.fullmatch(str(one))], attr)


class SaleForm(EditForm, ChangeForm):
    form_id = FormIdField()
    products = forms.ModelMultipleChoiceField(
        label=_("Products"),
        queryset=Product.objects.all(),
        # Searched by the server: a page with all products as choices would be too long.
        widget=ProductsWidget(SaleProduct._meta.get_field("product"), admin.site),
        help_text=_("Search by sku or name. A product is in at most one sale that is not over."),
    )
    rate_per_minute = form_fields.WholeNumberField(
        label=_("Rate per minute"),
        initial=terms.DEFAULT_RATE,
        min_value=1,
        max_value=terms.HIGHEST_RATE,
        help_text=_("The most accounts that are admitted in any 60 seconds."),
    )
    admitted_for_seconds = form_fields.WholeNumberField(
        label=_("Admitted for seconds"),
        initial=terms.DEFAULT_ADMITTED_FOR_SECONDS,
        min_value=1,
        max_value=terms.LONGEST_ADMISSION_SECONDS,
        help_text=_("How long an admitted account may place its order."),
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.pk:
            return
        del self.fields["form_id"]
        # Those of an account that may not change sales are read-only, and not fields of the form.
        if PRODUCTS in self.fields:
            self.initial[PRODUCTS] = sorted(terms.product_ids_of(self.instance.pk))
            # A sale may give up all of them.
            self.fields[PRODUCTS].required = False
        self.carry_initial()

    def terms(self, names: list[str]) -> dict[str, Any]:
        """The arguments of `terms.create` and `terms.change` for these fields."""
        given = {name: self.cleaned_data[name] for name in names}
        if PRODUCTS in given:
            given["product_ids"] = sorted(product.pk for product in given.pop(PRODUCTS))
        return given
