"""Admin pages of products, whose stock is changed by movements only, of movements and of deliveries."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
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
from uuid_utils.compat import uuid7

from inventory import adjustments, products, schemas
from inventory.adjustments import LARGEST_DELTA
from inventory.imports import stock_uploads
from inventory.models import Delivery, Product, StockMovement
from inventory.schemas import SKU_PATTERN
from shop.admin_site import NonAtomicAdmin, ReadOnlyMixin
from shop.errors import FirstcomeError, Unavailable
from shop.http import json_format
from shop.http.validation import LARGEST_AMOUNT
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, KeyedCall, Replay

UPLOAD_GONE = (
    "The file is not on this server, and nothing of it was imported: it was deleted after an hour, or it was "
    "uploaded to another server. Upload it again."
)
UPLOAD_ELSEWHERE = "is not on this server: confirm it where it was uploaded, and don't upload it again."


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
        help_text="The event stock.low is sent when no more than this is available; empty: never.",
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
            (StockMovement.Kind.RECEIVED, "Goods received"),
            (StockMovement.Kind.ADJUSTED, "Correction of the count, up or down"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    delta = forms.IntegerField(
        min_value=-LARGEST_DELTA, max_value=LARGEST_DELTA, widget=UnfoldAdminIntegerFieldWidget
    )
    reason = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)
    # Generated with the form, so that a form that is sent twice moves stock once.
    movement_id = forms.UUIDField(initial=uuid7, widget=forms.HiddenInput)


class StateFilter(admin.SimpleListFilter):
    """The four states that a product can be in."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.replace("_", " ")) for state in products.WITH_STATE]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Product]") -> "QuerySet[Product]":
        condition = products.WITH_STATE.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


@admin.register(Product)
class ProductAdmin(ImportMixin, ModelAdmin, NonAtomicAdmin):
    form = ProductForm
    import_form_class = ImportForm
    resource_classes = [stock_uploads.DeliveryFile]
    tmp_storage_class = stock_uploads.KeptUpload
    # The movements and the journal record each import and the account that made it.
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
        return request.user.has_perms(settings.STOCK_IMPORT.permissions)

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """The delivery's id, once the import is confirmed."""
        name = kwargs["form"].cleaned_data.get("import_file_name")
        known: dict[str, Any] = super().get_import_data_kwargs(**kwargs)
        return known | ({"delivery_id": stock_uploads.delivery_id(name)} if name else {})

    def import_action(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        response: TemplateResponse = super().import_action(request, **kwargs)
        page = response.context_data or {}
        if "confirm_form" in page:
            self.message_user(request, page["result"].summary(), level=messages.INFO)
        return response

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            response: HttpResponse = super().process_import(request, **kwargs)
        except FileNotFoundError:
            self._report_delivery(
                request, stock_uploads.read_delivery_of(request.POST.get("import_file_name", ""))
            )
            return redirect("admin:inventory_product_import")
        except Unavailable as error:
            self.message_user(request, f"{error.detail} Confirm again to continue.", level=messages.ERROR)
            page = {"title": "Import", "confirm_form": self.create_confirm_form(request), "opts": self.opts}
            context = self.admin_site.each_context(request) | page
            return TemplateResponse(request, [self.import_template_name], context)
        return response

    def _report_delivery(self, request: HttpRequest, delivery: Delivery | None) -> None:
        """Show how far a confirmed delivery is whose file is not here."""
        if delivery is None:
            self.message_user(request, UPLOAD_GONE, level=messages.ERROR)
        elif delivery.finished_at is None:
            progress = f"{delivery.rows_done} of {delivery.rows_total} rows are imported; the delivery's file"
            self.message_user(request, f"{progress} {UPLOAD_ELSEWHERE}", level=messages.ERROR)
        else:
            self.message_user(request, f"This delivery is imported: {delivery.received} units received.")

    def process_result(self, result: stock_uploads.ImportResult, request: HttpRequest) -> HttpResponse:
        """Show why nothing was imported, where something changed since the preview."""
        wrong = stock_uploads.error_sentences(result)
        if not wrong:
            return super().process_result(result, request)
        self.message_user(request, f"Nothing was imported. {' '.join(wrong)}", level=messages.ERROR)
        return redirect("admin:inventory_product_import")

    def add_success_message(self, result: stock_uploads.ImportResult, request: HttpRequest) -> None:
        done = result.imported
        product_counts = f"{done.created} products created, {done.changed} changed"
        repeated = " The delivery was imported before; nothing was imported again." if done.is_repeat else ""
        self.message_user(request, f"{product_counts}, {done.received} units received.{repeated}")

    @admin.display(description="available")
    def available(self, product: Product) -> int | str:
        return "-" if product.pk is None else product.available

    @admin.display(description="state")
    def state(self, product: Product) -> str:
        return "-" if product.pk is None else products.state(product).replace("_", " ")

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        """Write the changed fields only: the page's copy of the stock may be out of date."""
        fields = form.changed_data if change else ProductForm.Meta.fields
        values = {name: form.cleaned_data[name] for name in fields}
        if change:
            products.change(product_id=obj.pk, **values)
        else:
            obj.pk = products.create(**values).pk

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        """Products are made inactive instead: their orders and movements refer to them."""
        return False

    def has_move_stock_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A method, because unfold looks up a codename in the database whenever a process starts."""
        return request.user.has_perm("inventory.add_stockmovement")

    @action(
        description="Move stock",
        icon="inventory",
        permissions=["move_stock"],
        dialog={
            "title": "Move stock",
            "description": "Received goods, or a correction of the count. It is recorded as a movement.",
            "form_class": MoveStockForm,
            "form_submit_text": "Move",
        },
    )
    def move_stock(self, request: HttpRequest, form: MoveStockForm, object_id: str) -> HttpResponse:
        try:
            moved = _move_once(request, int(object_id), form.cleaned_data)
            if isinstance(moved, Replay):
                self.message_user(request, "This form was sent before; nothing was moved again.")
            else:
                self.message_user(request, f"On hand: {moved.on_hand_after} ({moved.delta:+d}).")
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        # The dialog is a fragment of the page: this header makes the browser load the whole page again.
        page = reverse("admin:inventory_product_change", args=[object_id])
        return HttpResponse(headers={"HX-Redirect": page})


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["id", "product", "kind", "delta", "on_hand_after", "order", "reason", "at"]
    list_select_related = ["product"]
    list_filter = ["kind", "at"]
    search_fields = ["product__sku", "reason"]
    ordering = ["-id"]


class ProgressFilter(admin.SimpleListFilter):
    """Whether all rows of a delivery are imported."""

    title, parameter_name = "progress", "progress"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unfinished", "Unfinished"), ("finished", "Finished")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Delivery]") -> "QuerySet[Delivery]":
        is_unfinished = {"unfinished": True, "finished": False}.get(self.value() or "")
        return queryset if is_unfinished is None else queryset.filter(finished_at__isnull=is_unfinished)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyMixin, ModelAdmin):
    """How far each delivery is: an unfinished one continues when it is run, or confirmed, again."""

    list_display = ["id", "reason", "rows_total", "rows_done", "received", "started_at", "finished_at"]
    readonly_fields = ["started_at"]
    list_filter = [ProgressFilter, "started_at"]
    search_fields = ["=id", "reason"]
    ordering = ["-started_at"]


def _move_once(request: HttpRequest, product_id: int, fields: dict[str, Any]) -> StockMovement | Replay:
    """Move stock by the fields of the form, once for the form's id."""
    kind, delta, reason = fields["kind"], fields["delta"], fields["reason"]
    call = KeyedCall(
        account_id=int(str(request.user.pk)),
        key_hash=recorded_answers.key_hash(f"move stock {fields['movement_id']}"),
        fingerprint=recorded_answers.key_hash(f"{product_id} {kind} {delta} {reason}"),
        answer=lambda movement: Answer(201, json_format.dump(schemas.movement_body(movement))),
    )
    return recorded_answers.run_once(call, lambda: _move(product_id, kind, delta, reason))


def _move(product_id: int, kind: str, delta: int, reason: str) -> StockMovement:
    if kind == StockMovement.Kind.RECEIVED:
        return adjustments.receive(product_id=product_id, quantity=delta, reason=reason)
    return adjustments.adjust(product_id=product_id, delta=delta, reason=reason)
