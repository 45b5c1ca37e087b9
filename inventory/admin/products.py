"""Admin pages of products, whose stock is changed by movements only, of movements and of deliveries."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_lazy as _, pgettext
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from inventory import adjustments, pausing, products
from inventory.adjustments import LARGEST_DELTA
from inventory.admin import import_page
from inventory.models import Delivery, Product, StockMovement
from inventory.schemas import SKU_PATTERN
from shop import form_fields
from shop.admin_base.actions import Action, ActionForm, ActionPreview, button
from shop.admin_base.classes import REASON, NonAtomicAdmin, ReadOnlyMixin, ReasonedChangesMixin
from shop.admin_base.display import link
from shop.admin_base.forms import ChangeForm, EditForm
from shop.admin_base.lists import KeysetMixin, RecordsAdmin, choice_filter, column
from shop.admin_base.pausing import PausingMixin
from shop.admin_base.status_words import WORDS, status_word
from shop.http.validation import LARGEST_AMOUNT
from shop.money import minor_unit_help

KINDS = [
    (StockMovement.Kind.RECEIVED.value, _("Goods received")),
    (StockMovement.Kind.ADJUSTED.value, _("Correction of the count, up or down")),
]


class MoveStockForm(ActionForm):
    kind = forms.ChoiceField(label=_("Kind"), choices=KINDS, widget=UnfoldAdminSelectWidget)
    delta = form_fields.WholeNumberField(
        label=_("Units"),
        min_value=-LARGEST_DELTA,
        max_value=LARGEST_DELTA,
        help_text=_("What is added; with a minus, what is taken away."),
    )
    seen_movement = form_fields.WholeNumberField(required=False, widget=forms.HiddenInput)
    field_order = ["kind", "delta", "reason"]


def _preview_movement(product_id: int, data: Mapping[str, Any]) -> ActionPreview:
    # Before the stock: a movement that comes between the two reads is found to be new.
    seen_movement = adjustments.last_by_staff(product_id)
    product, delta = products.get(product_id=product_id, include_inactive=True), data["delta"]
    return ActionPreview(
        gettext("%(kind)s: %(delta)s of %(product)s?")
        % {"kind": dict(KINDS)[data["kind"]], "delta": f"{delta:+,}", "product": product},
        facts=[
            (gettext("On hand"), f"{product.on_hand:,} → {product.on_hand + delta:,}"),
            (gettext("Reserved by open orders"), f"{product.reserved:,}"),
            (gettext("Available"), f"{product.available:,} → {product.available + delta:,}"),
        ],
        warning=""
        if product.available + delta >= 0
        else gettext("Less than the reserved units would be left."),
        carried={"seen_movement": seen_movement},
    )


def _move(product_id: int, data: Mapping[str, Any]) -> StockMovement:
    """Move the stock, unless other operators did since the confirmation was shown."""
    adjustments.require_last_by_staff(product_id, data["seen_movement"] or 0)
    if data["kind"] == StockMovement.Kind.RECEIVED:
        return adjustments.receive(product_id=product_id, quantity=data["delta"], reason=data["reason"])
    return adjustments.adjust(product_id=product_id, delta=data["delta"], reason=data["reason"])


def limit_field() -> form_fields.WholeNumberField:
    """The field of all forms that set a product's `limit_per_account`."""
    return form_fields.WholeNumberField(
        label=_("Limit per account"),
        required=False,
        min_value=1,
        max_value=products.LARGEST_LIMIT,
        help_text=_("The most units that one account may have in open and paid orders; empty: no limit."),
    )


class ProductForm(EditForm, ChangeForm):
    sku = forms.RegexField(
        label=_("Sku"), regex=SKU_PATTERN, max_length=64, widget=UnfoldAdminTextInputWidget
    )
    price = form_fields.WholeNumberField(
        label=_("Price"),
        min_value=0,
        max_value=LARGEST_AMOUNT,
        help_text=lazy(minor_unit_help, str)(),
    )

    low_stock_threshold = form_fields.WholeNumberField(
        label=_("Low stock threshold"),
        required=False,
        min_value=0,
        max_value=products.LARGEST_THRESHOLD,
        help_text=_("The event stock.low is sent when no more than this is available; empty: never."),
    )

    limit_per_account = limit_field()

    class Meta:
        model = Product
        fields = ["sku", "name", "price", "is_active", "low_stock_threshold", "limit_per_account"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.carry_initial()


STATES = {state: (_(WORDS[state]), condition) for state, condition in products.WITH_STATE.items()}
LOW = {"yes": (_("At or below the threshold"), products.IS_LOW)}
SOURCES = {
    "staff": (_("Received or adjusted"), Q(order__isnull=True)),
    "orders": (_("Sold or returned"), Q(order__isnull=False)),
}
"""Of movements: the index of orders finds those by staff; no index has the kinds."""
PROGRESS = {
    "unfinished": (_("Unfinished"), Q(finished_at__isnull=True)),
    "finished": (_("Finished"), Q(finished_at__isnull=False)),
}


@admin.register(Product)
class ProductAdmin(KeysetMixin, ReasonedChangesMixin, PausingMixin, ModelAdmin, NonAtomicAdmin):
    form = ProductForm
    readonly_fields = ["on_hand", "reserved", "available", "state", "paused_at", "created_at"]
    fields = [*ProductForm.Meta.fields, *readonly_fields]
    list_display = [
        "sku",
        "name",
        "price",
        "on_hand",
        "reserved",
        "available",
        "low_stock_threshold",
        "limit_per_account",
        "state",
        "page",
    ]
    list_filter = [
        choice_filter(_("state"), "state", STATES),
        choice_filter(_("low stock"), "low", LOW),
    ]
    search_fields = ["sku", "name"]
    ordering = ["id"]
    actions = ["pause_selected", "resume_selected"]
    actions_list = ["import_stock"]
    actions_detail = ["open_page", "pause", "resume", "move_stock"]
    show_facets = admin.ShowFacets.NEVER

    @button(
        description=_("Import"),
        icon="upload_file",
        permissions=settings.STOCK_IMPORT,
        url_path="import",
    )
    def import_stock(self, request: HttpRequest) -> Action:
        return import_page.import_stock()

    available = column(_("available"), lambda product: product.available)
    state = column(_("state"), lambda product: status_word(products.state(product)))
    page = column(_("page"), lambda row: link(pgettext("a link", "Open"), "product-page", row.pk))

    def get_fields(self, request: HttpRequest, obj: Product | None = None) -> Any:
        """A new product's page has the form alone."""
        return ProductForm.Meta.fields if obj is None else self.fields

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        """Write the changed fields only: the page's copy of the stock may be out of date."""
        fields = form.changed_data if change else ProductForm.Meta.fields
        values = {name: form.cleaned_data[name] for name in fields}
        if change:
            products.change(product_id=obj.pk, **values, reason=form.cleaned_data[REASON])
        else:
            obj.pk = products.create(**values).pk

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Product:
        return pausing.set_paused(product_id=row_id, is_paused=is_paused, reason=reason)

    @button(description=_("Product's page"), icon="monitoring", permissions=["view"])
    def open_page(self, request: HttpRequest, product: Product) -> HttpResponse:
        return redirect("product-page", product.pk)

    @button(description=_("Move stock"), icon="inventory", permissions=["inventory.add_stockmovement"])
    def move_stock(self, request: HttpRequest, product: Product) -> Action:
        def report(moved: StockMovement) -> str:
            values = {"on_hand": f"{moved.on_hand_after:,}", "delta": f"{moved.delta:+,}", "sku": product.sku}
            return gettext("On hand: %(on_hand)s (%(delta)s) of %(sku)s.") % values

        return Action(
            title=gettext("Move stock of %(sku)s") % {"sku": product.sku},
            description=gettext(
                "Received goods, or a correction of the count. It is recorded as a movement."
            ),
            submit=gettext("Move"),
            form_class=MoveStockForm,
            preview=partial(_preview_movement, product.pk),
            perform=partial(_move, product.pk),
            report=report,
            once=f"move stock of {product.pk}",
            back=reverse("product-page", args=[product.pk]),
        )


@admin.register(StockMovement)
class StockMovementAdmin(RecordsAdmin):
    list_display = ["id", "product", "kind", "delta", "on_hand_after", "order", "reason", "at"]
    list_prefetch_related = ["product", "order"]
    list_filter = [choice_filter(_("source"), "source", SOURCES), "at"]
    search_fields = ["product__sku"]
    search_help_text = _("The whole sku of a product")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyMixin, ModelAdmin):
    """An unfinished delivery continues when it is run, or confirmed, again."""

    list_display = ["id", "reason", "rows_total", "rows_done", "received", "started_at", "finished_at"]
    readonly_fields = ["started_at"]
    list_filter = [choice_filter(_("progress"), "progress", PROGRESS), "started_at"]
    search_fields = ["=id", "reason"]
    ordering = ["-started_at"]
