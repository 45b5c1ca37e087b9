"""Operators' pages: products with their stock, corrected only by movements; and the movements, to read."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from import_export.admin import ImportMixin
from unfold.admin import ModelAdmin
from unfold.contrib.import_export.forms import ImportForm
from unfold.decorators import action
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from inventory import adjusting, products, stock_uploads
from inventory.adjusting import LARGEST_DELTA
from inventory.bodies import SKU_PATTERN
from inventory.models import Product, StockMovement
from shop.errors import FirstcomeError
from shop.operators import ReadOnly
from shop.reading import LARGEST_AMOUNT

UPLOAD_GONE = "The file is not here any more: it was imported, or is on another server. Upload it again."


class ProductForm(forms.ModelForm):
    sku = forms.RegexField(regex=SKU_PATTERN, max_length=64, widget=UnfoldAdminTextInputWidget)
    price = forms.IntegerField(
        min_value=0,
        max_value=LARGEST_AMOUNT,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="In the currency's minor unit.",
    )

    low_stock_threshold = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=products.LARGEST_THRESHOLD,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Tell when no more than this is available; empty: never.",
    )

    limit_per_account = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=products.LARGEST_LIMIT,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="The most units that one account may have in open and paid orders; empty: no limit.",
    )

    class Meta:
        model = Product
        fields = ["sku", "name", "price", "is_active", "low_stock_threshold", "limit_per_account"]


class MoveStockForm(BaseDialogForm):
    kind = forms.ChoiceField(
        choices=[
            (StockMovement.Kind.RECEIVED, "Goods came in"),
            (StockMovement.Kind.ADJUSTED, "The count was wrong, up or down"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    delta = forms.IntegerField(
        min_value=-LARGEST_DELTA, max_value=LARGEST_DELTA, widget=UnfoldAdminIntegerFieldWidget
    )
    reason = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)


class StateFilter(admin.SimpleListFilter):
    """The four states that a product can be in."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.replace("_", " ")) for state in products.WITH_STATE]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Product]") -> "QuerySet[Product]":
        condition = products.WITH_STATE.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


@admin.register(Product)
class ProductAdmin(ImportMixin, ModelAdmin):
    form = ProductForm
    import_form_class = ImportForm
    resource_classes = [stock_uploads.Delivery]
    tmp_storage_class = stock_uploads.KeptUpload
    # Movements and journal tell who brought what in.
    skip_admin_log = True
    fields = [*ProductForm.Meta.fields, "on_hand", "reserved", "available", "state", "created_at"]
    readonly_fields = ["on_hand", "reserved", "available", "state", "created_at"]
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
    ]
    list_filter = [StateFilter]
    search_fields = ["sku", "name"]
    ordering = ["id"]
    actions_detail = ["move_stock"]

    def get_import_formats(self) -> list[type[stock_uploads.StockFile]]:
        return [stock_uploads.StockFile]

    def has_import_permission(self, request: HttpRequest) -> bool:
        needed = ["inventory.add_product", "inventory.change_product", "inventory.add_stockmovement"]
        return request.user.has_perms(needed)

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            return super().process_import(request, **kwargs)
        except FileNotFoundError:
            self.message_user(request, UPLOAD_GONE, level=messages.ERROR)
            return redirect("admin:inventory_product_import")

    def process_result(self, result: stock_uploads.Delivered, request: HttpRequest) -> HttpResponse:
        """Things may have changed since the preview: then nothing was imported, and this says why."""
        wrong = stock_uploads.told(result)
        if not wrong:
            return super().process_result(result, request)
        self.message_user(request, f"Nothing was imported. {' '.join(wrong)}", level=messages.ERROR)
        return redirect("admin:inventory_product_import")

    def add_success_message(self, result: stock_uploads.Delivered, request: HttpRequest) -> None:
        done = result.imported
        products_told = f"{done.created} products created, {done.changed} changed"
        self.message_user(request, f"{products_told}, {done.received} units received.")

    @admin.display(description="available")
    def available(self, product: Product) -> int | str:
        return "-" if product.pk is None else product.available

    @admin.display(description="state")
    def state(self, product: Product) -> str:
        return "-" if product.pk is None else products.state(product).replace("_", " ")

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        """Write only what was changed here: the page's copy of the stock is old by now."""
        fields = form.changed_data if change else ProductForm.Meta.fields
        values = {name: form.cleaned_data[name] for name in fields}
        if change:
            products.change(product_id=obj.pk, **values)
        else:
            obj.pk = products.create(**values).pk

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        """Products are made inactive; their orders and movements still speak of them."""
        return False

    def has_move_stock_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A method, for unfold looks a codename up in the database whenever a process starts."""
        return request.user.has_perm("inventory.add_stockmovement")

    @action(
        description="Move stock",
        icon="inventory",
        permissions=["move_stock"],
        dialog={
            "title": "Move stock",
            "description": "Goods that came in, or a count that was wrong. It is logged as a movement.",
            "form_class": MoveStockForm,
            "form_submit_text": "Move",
        },
    )
    def move_stock(self, request: HttpRequest, form: MoveStockForm, object_id: str) -> HttpResponse:
        asked = form.cleaned_data
        try:
            movement = _move(int(object_id), asked["kind"], asked["delta"], asked["reason"])
            self.message_user(request, f"On hand: {movement.on_hand_after} ({movement.delta:+d}).")
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        # The dialog is a fragment of the page: this has the browser load the whole page again.
        page = reverse("admin:inventory_product_change", args=[object_id])
        return HttpResponse(headers={"HX-Redirect": page})


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "product", "kind", "delta", "on_hand_after", "order", "reason", "at"]
    list_select_related = ["product"]
    list_filter = ["kind", "at"]
    search_fields = ["product__sku", "reason"]
    ordering = ["-id"]


def _move(product_id: int, kind: str, delta: int, reason: str) -> StockMovement:
    if kind == StockMovement.Kind.RECEIVED:
        return adjusting.receive(product_id=product_id, quantity=delta, reason=reason)
    return adjusting.adjust(product_id=product_id, delta=delta, reason=reason)
