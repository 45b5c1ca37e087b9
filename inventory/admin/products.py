"""Admin pages of products, whose stock is changed by movements only, of movements and of deliveries, and the
import of stock as CSV: previewed first, and imported as `seed_stock` does after operators confirm. The form's
id is the delivery's: a file confirmed twice is one delivery.
"""

from functools import partial
from typing import Any, BinaryIO

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.operating import row_checks
from accounts.operating.pausing_admin import PausableAdmin
from accounts.operating.row_checks import Check
from foundation import clock, form_fields
from foundation.admin_base import uploads
from foundation.admin_base.actions import Action, ActionForm, ActionPreview, FormData, button
from foundation.admin_base.classes import ReadOnlyMixin
from foundation.admin_base.display import status_label, zoned_text
from foundation.admin_base.forms import TermsForm
from foundation.admin_base.lists import KeysetMixin, RecordsAdmin, choice_filter, column, key_column
from foundation.admin_base.status_words import status_word, status_word_lazy
from foundation.errors import Rejected, Unavailable
from foundation.http.validation import LARGEST_AMOUNT
from foundation.lazy_texts import mark
from foundation.money import format_amount, minor_unit_help
from inventory import adjustments, products
from inventory.imports import importing, stock_files
from inventory.imports.stock_files import StockRow
from inventory.models import Delivery, Product, StockMovement
from inventory.schemas import SKU_PATTERN

COUNTED = "counted"
KINDS = [
    (StockMovement.Kind.RECEIVED.value, _("Products received")),
    (StockMovement.Kind.ADJUSTED.value, _("Count was wrong: correct it up or down")),
    (COUNTED, _("Counted: set what is on hand to this number")),
]
MOST_LINES = 20_000
"""Without the header. All lines of a file are in memory at once, for every preview."""
ROWS_SHOWN = 200
"""Of the preview: a page of all lines took hundreds of MiB."""
SAMPLE = "inventory/stock-sample.csv"
HEADERS = [
    _("line"),
    _("SKU"),
    _("name"),
    _("price"),
    _("low stock threshold"),
    _("quantity"),
    _("on hand"),
    _("state"),
]


class ImportForm(uploads.UploadForm):
    quantities = forms.ChoiceField(
        label=_("The quantity is"),
        required=False,
        choices=[("added", _("added to the stock")), (COUNTED, _("the counted number on hand"))],
        widget=UnfoldAdminSelectWidget,
    )


class MoveStockForm(ActionForm):
    kind = forms.ChoiceField(label=_("Kind"), choices=KINDS, widget=UnfoldAdminSelectWidget)
    delta = form_fields.WholeNumberField(
        label=_("Units"),
        min_value=-adjustments.LARGEST_DELTA,
        max_value=adjustments.LARGEST_DELTA,
        help_text=_(
            "How many to add; to take some away, put a minus before the number. A count: how many there are."
        ),
    )
    seen_movement = form_fields.WholeNumberField(required=False, widget=forms.HiddenInput)
    counted_delta = form_fields.WholeNumberField(required=False, widget=forms.HiddenInput)


def _preview_movement(product_id: int, data: FormData) -> ActionPreview:
    # Before the stock: a movement that comes between the two reads is found to be new.
    seen_movement = adjustments.last_by_staff(product_id)
    product = products.get(product_id=product_id, include_inactive=True)
    delta = data["delta"] - (product.on_hand if data["kind"] == COUNTED else 0)
    adjustments.require_possible(product, kind=data["kind"], delta=delta)
    return ActionPreview(
        gettext("Set what is on hand of %(product)s to %(on_hand)s? (%(delta)s)")
        % {"product": product.name, "on_hand": f"{product.on_hand + delta:,}", "delta": f"{delta:+,}"},
        facts=[
            (gettext("On hand"), f"{product.on_hand:,} → {product.on_hand + delta:,}"),
            (gettext("Reserved by open orders"), f"{product.reserved:,}"),
            (gettext("Available"), f"{product.available:,} → {product.available + delta:,}"),
        ],
        carried={"seen_movement": seen_movement, "counted_delta": delta},
    )


def _move(product_id: int, data: FormData) -> StockMovement:
    """Move the stock, unless other operators did since the confirmation was shown."""
    adjustments.require_last_by_staff(product_id, data["seen_movement"] or 0)
    if data["kind"] == StockMovement.Kind.RECEIVED:
        return adjustments.receive(product_id=product_id, quantity=data["delta"], reason=data["reason"])
    # Of a count, the difference that was shown: what is sold meanwhile is not put back.
    delta = data["counted_delta"] if data["kind"] == COUNTED else data["delta"]
    return adjustments.adjust(product_id=product_id, delta=delta or 0, reason=data["reason"])


class ProductForm(TermsForm):
    form_id = None  # type: ignore[assignment]  # two products can't have the same sku
    sku = forms.RegexField(
        label=_("SKU"), regex=SKU_PATTERN, max_length=64, widget=UnfoldAdminTextInputWidget
    )
    price = form_fields.WholeNumberField(
        label=_("Price"), min_value=0, max_value=LARGEST_AMOUNT, help_text=lazy(minor_unit_help, str)()
    )

    low_stock_threshold = form_fields.WholeNumberField(
        label=_("Low stock threshold"),
        required=False,
        min_value=0,
        max_value=products.LARGEST_THRESHOLD,
        help_text=_("You are warned when no more than this is available. Leave it empty for no warning."),
    )

    limit_per_account = form_fields.WholeNumberField(
        label=_("Limit per account"),
        required=False,
        min_value=1,
        max_value=products.LARGEST_LIMIT,
        help_text=_("How many one account may order in all. Leave it empty for no limit."),
    )

    class Meta:
        model = Product
        fields = ["sku", "name", "price", "is_active", "low_stock_threshold", "limit_per_account"]
        labels = {"is_active": _("Buyers see it")}
        help_texts = {"is_active": _("To stop selling it for a while, pause it.")}


STATES = {state: (status_word_lazy(state), condition) for state, condition in products.WITH_STATE.items()}
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
class ProductAdmin(KeysetMixin, PausableAdmin):
    form = ProductForm
    domain = products
    readonly_fields = ["on_hand", "reserved", "available", "state", "paused_at", "created_at"]
    fields = [*ProductForm.Meta.fields, *readonly_fields]
    list_display = ["name", "sku", "shown_state", "price", "on_hand", "available_figure"]
    exported = [
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
    row_page = "product-page"
    list_filter = [
        choice_filter(_("state"), "state", STATES),
        choice_filter(_("low stock"), "low", {"yes": (_("At or below the threshold"), products.IS_LOW)}),
    ]
    search_fields = ["sku", "name"]
    ordering = ["id"]
    actions_list = ["import_stock"]
    actions_detail = ["open_page", "pause", "resume", "explain", "move_stock"]
    show_facets = admin.ShowFacets.NEVER
    list_prefetch_related = ["sale"]

    @button(
        description=_("Import products and stock"),
        icon="upload_file",
        permissions=settings.STOCK_IMPORT,
        url_path="import",
    )
    def import_stock(self, request: HttpRequest) -> Action:
        repeat = _("The delivery was imported before; nothing was imported again.")

        def preview(data: FormData) -> ActionPreview:
            with uploads.opened(data, is_confirmed=False) as file:
                return _preview(*_read(file, data))

        return Action(
            title=gettext("Import products and stock"),
            description=format_html(
                gettext(
                    "A CSV file with the columns {columns}, and {optional} if you like, or their Korean "
                    "names. A new product needs a name and a price. {sample}"
                ),
                sample=format_html(
                    '<a class="fc-link" href="{}" download>{}</a>',
                    static(SAMPLE),
                    gettext("Download a sample file"),
                ),
                columns=format_html("<code>{}</code>", ",".join(stock_files.COLUMNS)),
                optional=format_html("<code>{}</code>", ",".join(stock_files.OPTIONAL_COLUMNS)),
            ),
            submit=gettext("Import"),
            form_class=ImportForm,
            preview=preview,
            perform=_import,
            report=lambda done: f"{importing.summary(done)} {repeat if done.is_repeat else ''}".rstrip(),
            once="import stock",
            is_one_transaction=False,
            back=reverse("admin:inventory_product_changelist"),
        )

    available = column(_("available"), lambda product: product.available)
    available_figure = column(_("available"), lambda product: f"{product.available:,}")
    shown_state = column(_("state"), lambda product: status_label(products.state(product)))
    state = column(_("state"), lambda product: status_word(products.state(product)))

    meanings = {
        "available": _("Buyers can order it now."),
        "sold_out": _("Nothing is left to order. Receive or correct stock, or import a delivery."),
        "inactive": _("Buyers don't see it. To sell it, set it active."),
        "scheduled": _("Buyers can order it only once its sale opens."),
        "paused": _("Buyers can't order it while its sale is paused."),
        "closed": _("Its sale is over. To sell it again, take it out of the sale."),
    }
    open_parts = {_("Limits"): ["low_stock_threshold", "limit_per_account"]}
    parts = {_("Figures"): readonly_fields}

    def checks(self, row: Product) -> list[Check]:
        sale = []
        if row.sale:
            text = gettext("Only in the sale “%(sale)s”, from %(at)s")
            at = zoned_text(row.sale.opens_at)
            sale = [Check(row.sale.opens_at <= clock.now(), text % {"sale": row.sale, "at": at})]
        stock = gettext("%(count)s available, %(reserved)s reserved by open orders")
        levels = {"count": f"{row.available:,}", "reserved": f"{row.reserved:,}"}
        price = gettext("Price: %(price)s") % {"price": format_amount(row.price)}
        limit = gettext("No limit per account")
        if row.limit_per_account is not None:
            limit = gettext("Limit for each account: %(count)s") % {"count": f"{row.limit_per_account:,}"}
        return [
            *sale,
            Check(row.available > 0, stock % levels, "move_stock"),
            Check(row.price > 0, price, field="price"),
            Check(True, limit, field="limit_per_account"),
            row_checks.gateway(),
        ]

    def status_of(self, row: Product) -> str:
        return products.state(row)

    def left_text(self, row: Product) -> str:
        return gettext("%(count)s left") % {"count": f"{row.available:,}"}

    @button(
        description=_("Product's page"),
        icon="monitoring",
        permissions=["view"],
        is_useful=lambda request, row: request.path != reverse("product-page", args=[row.pk]),
    )
    def open_page(self, request: HttpRequest, product: Product) -> HttpResponse:
        return redirect("product-page", product.pk)

    @button(
        description=_("Receive or correct stock"),
        icon="inventory",
        permissions=["inventory.add_stockmovement"],
    )
    def move_stock(self, request: HttpRequest, product: Product) -> Action:
        def report(moved: StockMovement) -> str:
            values = {"on_hand": f"{moved.on_hand_after:,}", "delta": f"{moved.delta:+,}", "sku": product.sku}
            return gettext("%(sku)s: %(delta)s. On hand now: %(on_hand)s.") % values

        return Action(
            title=gettext("Receive or correct the stock of %(sku)s") % {"sku": product.sku},
            description=gettext(
                "For products that arrived, or a count that was wrong. On hand: %(on_hand)s, of which "
                "open orders reserve %(reserved)s."
            )
            % {"on_hand": f"{product.on_hand:,}", "reserved": f"{product.reserved:,}"},
            submit=gettext("Change the stock"),
            form_class=MoveStockForm,
            preview=partial(_preview_movement, product.pk),
            perform=partial(_move, product.pk),
            report=report,
            once=f"move stock of {product.pk}",
            back=reverse("product-page", args=[product.pk]),
        )


@admin.register(StockMovement)
class StockMovementAdmin(RecordsAdmin):
    list_display = ["product", "kind", "delta", "on_hand_after", "order", "reason", "at"]
    exported = ["product", "kind", "delta", "on_hand_after", "order_key", "reason", "at"]
    list_prefetch_related = ["product", "order"]
    list_filter = [choice_filter(_("source"), "source", SOURCES), "at"]
    linked_lookups = ["product__id__exact"]
    search_fields = ["product__sku"]
    search_help_text = _("A product's whole SKU")

    order_key = key_column("order_id", _("order"))


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyMixin, ModelAdmin):
    """An unfinished delivery continues when it is run, or confirmed, again."""

    list_display = ["reason", "rows_total", "rows_done", "received", "started_at", "finished_at"]
    readonly_fields = ["started_at"]
    list_filter = [choice_filter(_("progress"), "progress", PROGRESS), "started_at"]
    search_fields = ["=id", "reason"]
    ordering = ["-started_at"]


def _import(data: FormData) -> importing.Imported:
    """Raises `Unavailable` when a part of the delivery may be imported: the same form continues it."""
    delivery = importing.unfinished().filter(pk=data["form_id"]).first()
    if delivery and not data["path"].exists():
        raise Rejected(
            mark(
                "{done} of {total} rows are imported; the delivery's file is not on this server: confirm it "
                "where it was uploaded, and don't upload it again.",
                done=delivery.rows_done,
                total=delivery.rows_total,
            ),
            code="upload_gone",
        )
    try:
        with uploads.opened(data, is_confirmed=True) as file:
            rows, _warnings = _read(file, data)
            return importing.receive(rows, delivery_id=data["form_id"], reason=data["reason"])
    except Unavailable as error:
        again = gettext("Press the button again to go on.")
        raise Unavailable(f"{error.detail} {again}") from error


def _read(file: BinaryIO, data: FormData) -> tuple[list[StockRow], list[str]]:
    rows, warnings = stock_files.read_file(file.read(), most_lines=MOST_LINES)
    counted = {"is_counted": data["quantities"] == COUNTED}
    return [row.model_copy(update=counted) for row in rows], warnings


def _preview(rows: list[StockRow], warnings: list[str]) -> ActionPreview:
    """What the whole file would do, and the first of its rows."""
    imported = importing.preview(rows)
    if same := importing.find_same(rows):
        text = gettext(
            "The same rows were imported at %(at)s (%(reason)s). Import them only if they arrived again."
        )
        at = zoned_text(same.started_at)
        warnings = [*warnings, text % {"at": at, "reason": same.reason}]
    sentence = gettext(
        "Import %(rows)s rows? New products: %(created)s. Changed products: %(changed)s. Units added "
        "to the stock: %(units)s."
    ) % {
        "rows": f"{len(imported.receipts):,}",
        "created": f"{imported.created:,}",
        "changed": f"{imported.changed:,}",
        "units": f"{imported.received:,}",
    }
    if rows[0].is_counted:
        counted = gettext("The stock is set to the counted numbers.")
        sentence = f"{sentence} {counted}"
    shown = imported.receipts[:ROWS_SHOWN]
    if more := len(imported.receipts) - len(shown):
        hidden = gettext("The first %(shown)s rows are shown. Another %(more)s are imported with them.")
        sentence = f"{sentence} {hidden % {'shown': len(shown), 'more': f'{more:,}'}}"
    return ActionPreview(
        sentence,
        warning=" ".join(warnings),
        table={"headers": HEADERS, "rows": [_cells(receipt) for receipt in shown]},
    )


def _cells(receipt: importing.Receipt) -> list[str]:
    row = receipt.row
    given = {name: (value, value) for name, value in row.terms.items()} | receipt.changes
    terms = [_change(*given.get(name, ("", ""))) for name in ("name", "price", "low_stock_threshold")]
    kind = gettext("new") if receipt.is_new else ""
    return [str(row.line), row.sku, *terms, f"{row.quantity:,}", _change(*receipt.on_hand), kind]


def _change(before: Any, after: Any) -> str:
    texts = [f"{one:,}" if isinstance(one, int) else str(one or "-") for one in (before, after)]
    return " → ".join(dict.fromkeys(texts))
