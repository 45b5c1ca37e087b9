"""The admin of orders, refunds and their lines: the page of an order, and what operators may do with it.

A refund asks which units, shows the amount beside them, and then refunds exactly what was shown.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy as _
from pydantic import TypeAdapter, ValidationError
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts import accounts
from coupons.models import Campaign, Coupon
from events.webhooks import deliveries
from foundation import clock, form_fields
from foundation.admin_base.actions import Action, ActionForm, ActionPreview, FormData, button, calling
from foundation.admin_base.classes import refusal_text
from foundation.admin_base.display import Context, amount, in_currency, time_tag
from foundation.admin_base.forms import reason_field
from foundation.admin_base.lists import (
    DaysFilter,
    ReadOnlyInline,
    RecordsAdmin,
    WordFilter,
    choice_filter,
    column,
    find_named,
    newest_rows,
)
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.models import JournalLine
from foundation.money import format_number, parse_amount
from foundation.operations import dispatch
from inventory.availability import Line
from inventory.models import Product
from orders import cancellation, order_notes, order_numbers, order_states, tasks
from orders.admin import order_page
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.payment import refunding
from orders.payment.refunding import RefundPreview, StartedRefund

REASON_HELP = _("At most 255 characters. The customer sees it.")
ALL = "all"
SOME = "some"
OWED = "owed"
SHOWN = TypeAdapter(RefundPreview)
NOTHING = RefundPreview({}, {}, amount=0, points_amount=0, card_amount=0)
# Unpaid orders that should have expired and still hold stock; the journal has the reason.
OVERDUE = {
    "overdue": (
        _("Overdue: unpaid, and still holding stock"),
        lambda rows: rows.filter(cancellation.is_overdue()),
    )
}


METHODS = {
    "card": (_("By card"), Q(card_amount__gt=0, points_amount=0)),
    "points": (_("In points"), Q(card_amount=0, points_amount__gt=0)),
    "both": (_("By card and in points"), Q(card_amount__gt=0, points_amount__gt=0)),
    "free": (_("Nothing to pay"), Q(total_amount=0)),
}
MOST_OF_A_CAMPAIGN = 2_000
"""Orders that the filter by campaign finds: the database is given their ids."""
MOST_PRODUCTS = 10
"""Products that a part of a name finds."""
RANGE = re.compile(r"([\d.,]+)(?:\s*(?:-|–|~|to)\s*([\d.,]+))?")


class ProductFilter(WordFilter):
    """Orders with this product; the index of lines by product has them in their order."""

    title = _("A product's SKU or name")
    parameter_name = "product"

    def narrow(self, request: HttpRequest, rows: "QuerySet[Order]", word: str) -> "QuerySet[Order]":
        if found := find_products(word):
            return rows.filter(lines__product=found[0])
        text = gettext("No product has the SKU or name “%(word)s”. Type the whole of it.")
        return self.refuse(request, rows, text)


class CampaignFilter(WordFilter):
    """Orders with a coupon of this campaign, the newest ones, whose ids are read first."""

    title = _("A campaign's name")
    parameter_name = "campaign"

    def narrow(self, request: HttpRequest, rows: "QuerySet[Order]", word: str) -> "QuerySet[Order]":
        campaign = find_named(Campaign.objects.all(), word, "name", "shared_code").first()
        if campaign is None:
            text = gettext("No campaign is called “%(word)s”. Type its whole name.")
            return self.refuse(request, rows, text)
        held = [
            id
            for status in (Coupon.Status.HELD, Coupon.Status.REDEEMED)
            for id in Coupon.objects.filter(campaign=campaign, status=status)
            .order_by("-id")
            .values_list("order_id", flat=True)[: MOST_OF_A_CAMPAIGN + 1]
        ]
        if len(held) > MOST_OF_A_CAMPAIGN:
            text = gettext("The list has only the orders with the newest %(count)s coupons of “%(name)s”.")
            messages.info(request, text % {"count": f"{MOST_OF_A_CAMPAIGN:,}", "name": campaign.name})
        return rows.filter(pk__in=sorted(held, reverse=True)[:MOST_OF_A_CAMPAIGN])


class TotalFilter(WordFilter):
    title = _("Total, such as 12,000 or 10,000-20,000")
    parameter_name = "total"

    def narrow(self, request: HttpRequest, rows: "QuerySet[Order]", word: str) -> "QuerySet[Order]":
        if match := RANGE.fullmatch(word):
            try:
                least, most = (parse_amount(end or match[1]) for end in match.groups())
            except ValueError:
                pass
            else:
                return rows.filter(total_amount__gte=least, total_amount__lte=most)
        text = gettext("“%(word)s” is no amount: write 12,000, or 10,000-20,000.")
        return self.refuse(request, rows, text)


FOR_WHAT = [(ALL, _("All that can still be refunded")), (SOME, _("These units:"))]


class RefundForm(ActionForm):
    """Which units of the order are refunded, and why: a field `units_<line>` for each line. Or what is owed
    besides the units that are left, if something is.

    A hidden field carries what was shown.
    """

    what = forms.ChoiceField(
        choices=FOR_WHAT, initial=ALL, widget=UnfoldAdminRadioSelectWidget, label=_("What to refund")
    )
    restock = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        label=_("Put the products back in stock"),
    )
    reason = reason_field(REASON_HELP)
    shown = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, lines: Sequence[OrderLine], owed: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines = lines
        what = self.fields["what"]
        if owed and isinstance(what, forms.ChoiceField):
            text = gettext("Only the amount of an earlier refund that failed: %(amount)s") % {"amount": owed}
            what.choices = [*FOR_WHAT, (OWED, text)]
        for line in lines:
            left = line.left_quantity
            self.fields[f"units_{line.pk}"] = form_fields.WholeNumberField(
                # The domain refuses more than is left: it knows what was refunded meanwhile.
                required=False,
                min_value=0,
                max_value=line.quantity,
                initial=0,
                label=gettext("Units of %(sku)s, of %(left)s left") % {"sku": line.sku, "left": left},
                widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 0, "max": left, "inputmode": "numeric"}),
            )
        self.order_fields([*(f"units_{line.pk}" for line in lines), "what", "restock", "reason"])

    def rows(self) -> list[tuple[OrderLine, int, forms.BoundField]]:
        """Each line with what is left of it, and its field."""
        return [(line, line.left_quantity, self[f"units_{line.pk}"]) for line in self.lines]

    def others(self) -> list[forms.BoundField]:
        return [field for field in self if not field.name.startswith(("units_", "what"))]

    def check(self, data: FormData) -> FormData:
        counts = {line.product_id: data[f"units_{line.pk}"] or 0 for line in self.lines}
        units = [Line(product_id=id, quantity=count) for id, count in counts.items() if count]
        if data["what"] == SOME and not units:
            raise forms.ValidationError(gettext("Enter how many units of a product to refund."))
        # Steppers at what is left, or at what was left before another refund, are all of it.
        is_all = data["what"] == ALL and all(
            counts[line.product_id] >= line.left_quantity for line in self.lines
        )
        if data["what"] != SOME and units and not is_all:
            text = gettext(
                "To refund these units, choose “These units:”. To refund everything, enter 0 units."
            )
            raise forms.ValidationError(text)
        return data | {"wanted": None if data["what"] == ALL else units}


class NoteForm(ActionForm):
    """A note of staff on the order."""

    reason = reason_field(
        _("At most 1,000 characters. It is deleted when the customer is erased."),
        max_length=order_notes.LONGEST,
        label=_("Note"),
    )


def number_text(order: Order) -> SafeString:
    """The order's number, beside which a script puts a button that copies it."""
    return format_html('<span class="fc-number-text" data-copy>{}</span>', order)


def find_numbered(orders: "QuerySet[Order]", term: str, most: int) -> list[Order]:
    """The orders whose number the term is, begins or, of the newest ones, ends."""
    if not (part := order_numbers.parse_part(term)):
        return []
    found = list(orders.filter(number__istartswith=part)[:most])
    if len(part) < order_numbers.LENGTH:
        ends = newest_rows(orders).filter(number__iendswith=part).order_by("-pk")
        found += ends[: most - len(found)]
    return found


def products_named(term: str) -> list[Product]:
    """The product with this SKU, and those that have the term as a part of their name or SKU."""
    products = Product.objects.prefetch_related("sale")
    by_sku = products.filter(sku__in=[term, term.upper()])[:1]
    return list(dict.fromkeys([*by_sku, *find_named(products, term, "name", "sku")[:MOST_PRODUCTS]]))


def find_products(term: str) -> list[Product]:
    """The product with this SKU or name, or else those that have it as a part."""
    found = products_named(term)
    whole = [one for one in found if term.casefold() in (one.name.casefold(), one.sku.casefold())]
    return whole or found


def newest_orders_with(products: Sequence[Product], most: int) -> list[Any]:
    """The ids of the newest orders with these products, so many of each, by the index of its lines."""
    ids = OrderLine.objects.order_by("-pk").values_list("order_id", flat=True)
    return [id for one in products for id in ids.filter(product=one)[:most]]


def items_text(order: Order) -> str:
    """What was ordered, as in "2 × Mug, 1 × Lamp"."""
    lines = sorted(order.lines.all(), key=lambda line: line.pk)
    return ", ".join(f"{line.quantity:,} × {line.name}" for line in lines)


def _total(order: Order) -> str:
    total = format_number(order.total_amount, order.currency)
    if not order.refunded_amount:
        return total
    refunded = format_number(order.refunded_amount, order.currency)
    note = gettext("refunded %(amount)s") % {"amount": refunded}
    return format_html('{} <span class="fc-cell-note">{}</span>', total, note)


@admin.register(Order)
class OrderAdmin(RecordsAdmin):
    """Orders are read-only; the buttons call the domain functions that the API calls."""

    list_display = ["shown_number", "items", "shown_status", "total_figure", "buyer", "placed"]
    exported = [
        "shown_number",
        "account",
        "status",
        "total_amount",
        "points_amount",
        "card_amount",
        "placed_at",
        "expires_at",
        "metadata_text",
    ]
    list_filter = [
        ("placed_at", DaysFilter),
        ProductFilter,
        CampaignFilter,
        TotalFilter,
        choice_filter(_("method"), "method", METHODS),
        "status",
        choice_filter(_("expiry"), "expiry", OVERDUE),
    ]
    list_filter_submit = True
    # No index has amounts: one would cost each order a write more.
    unindexed_filters = {"total", "method"}
    are_filters_indexed_together = False
    ordering_of_filters = dict.fromkeys(["placed_at_from", "placed_at_to"], ("-placed_at", "-id"))
    sortable_by = ["placed"]
    linked_lookups = ["account__id__exact"]
    list_prefetch_related = ["account", "lines"]
    search_fields = ["id"]
    search_help_text = _("Number, last four, e-mail, name, product or coupon")
    # Its own template shows everything: a form with all fields would only repeat it.
    fields = ["id"]
    actions_detail = ["refund", "cancel", "cancel_and_refund", "note", "resend_events"]

    shown_number = column(_("number"), number_text)
    items = column(_("items"), items_text)
    total_figure = column(in_currency(_("total")), _total)
    buyer = column(_("buyer"), attrgetter("account"))
    placed = column(_("placed"), lambda order: time_tag(order.placed_at), ordering="placed_at")
    metadata_text = column(_("metadata"), lambda order: json.dumps(order.metadata or {}))

    def row_title(self, row: Order) -> str:
        return gettext("Order %(id)s") % {"id": row}

    def journal_lines(self, row: Order) -> "QuerySet[JournalLine]":
        """Those of its payments and refunds too."""
        return JournalLine.objects.filter(order_id=row.pk)

    def search(self, rows: "QuerySet[Order]", term: str) -> "QuerySet[Order]":
        """The order of a number or a part of one, one that holds a coupon, the orders of accounts, or the
        newest ones with a product.
        """
        most = self.list_per_page
        if found := find_numbered(Order.objects.all(), term, most):
            return rows.filter(pk__in=[order.pk for order in found])
        holders = Coupon.objects.filter(code=term, order__isnull=False)
        if order_id := holders.values_list("order_id", flat=True).first():
            return rows.filter(pk=order_id)
        if ids := accounts.find_ids(term, most=most):
            return rows.filter(account_id__in=ids)
        if found_by_product := newest_orders_with(find_products(term), most):
            return rows.filter(pk__in=found_by_product)
        return super().search(rows, term)

    def add_context(self, request: HttpRequest, row: Order, context: Context) -> None:
        context |= {
            "order_page": order_page.read(row, request),
            "order": row,
            "note_form": NoteForm(),
            "title": self.row_title(row),
        }
        actions = context.get("actions_detail", [])
        # The note has its form on the page.
        context["actions_detail"] = [
            one for one in actions if "note" not in one["path"] and "resend_events" not in one["path"]
        ]
        context["engineers_actions"] = [one for one in actions if "resend_events" in one["path"]]

    # The domain refuses what the buttons don't offer all the same.
    @button(
        description=_("Refund"),
        icon="undo",
        permissions=["orders.add_refund"],
        variant=ActionVariant.PRIMARY,
        is_useful=lambda request, order: order.status in order_states.REFUNDABLE,
    )
    def refund(self, request: HttpRequest, order: Order) -> Action | HttpResponse:
        left = sum(line.left_quantity for line in order.lines.all())
        return _refunding(request, order, gettext("Refund order %(number)s"), with_all=left == 1)

    @button(
        description=_("Cancel order"),
        icon="block",
        permissions=["orders.change_order", "orders.add_refund"],
        is_useful=lambda request, order: order.status in order_states.REFUNDABLE,
    )
    def cancel_and_refund(self, request: HttpRequest, order: Order) -> Action | HttpResponse:
        """A paid order is cancelled by the refund of all that is left."""
        return _refunding(
            request,
            order,
            gettext("Cancel order %(number)s and refund it"),
            with_all=True,
            submit=gettext("Cancel and refund %(amount)s"),
        )

    @button(
        description=_("Cancel order"),
        icon="block",
        permissions=["orders.change_order"],
        is_useful=lambda request, order: order.status_at(clock.now()) == Order.Status.AWAITING_PAYMENT,
    )
    def cancel(self, request: HttpRequest, order: Order) -> Action:
        return Action(
            title=_("Cancel this order"),
            description=_(
                "The stock and the coupon of the order are free at once, and the customer can't pay it "
                "any more. This can't be undone."
            ),
            submit=_("Cancel the order"),
            keep=_("Don't cancel"),
            perform=calling(cancellation.cancel, order_id=order.pk, account_id=None),
            report=lambda _: gettext("The order is cancelled. Its stock and coupon are free again."),
            is_dangerous=True,
        )

    @button(description=_("Add a note"), icon="edit_note", permissions=["orders.change_order"])
    def note(self, request: HttpRequest, order: Order) -> Action:
        return Action(
            title=_("Add a note"),
            description=_("Staff see it on the order's page. Customers don't."),
            submit=_("Add the note"),
            form_class=NoteForm,
            perform=lambda data: order_notes.add(
                order_id=order.pk, author_id=int(str(request.user.pk)), text=data["reason"]
            ),
            report=lambda _: gettext("The note was added to the order."),
            once=f"note on {order.pk}",
        )

    @button(
        description=_("Send events again"),
        icon="send",
        permissions=["shop.change_journalline"],
        is_useful=lambda request, order: order.status in (*order_states.PAID, Order.Status.CANCELLED),
    )
    def resend_events(self, request: HttpRequest, order: Order) -> Action:
        queued = _("Events that are sent again: %(count)s. They arrive within seconds.")
        return Action(
            title=_("Send the events of this order again"),
            description=_(
                "The data platform gets all events of this order again, in the same order. It skips "
                "those that it has."
            ),
            submit=_("Send again"),
            perform=calling(deliveries.resend_order, order_id=order.pk),
            report=lambda count: queued % {"count": count},
            once=f"resend events of {order.pk}",
        )


def _refunding(
    request: HttpRequest, order: Order, title: str, *, with_all: bool, submit: str = ""
) -> Action | HttpResponse:
    """Which units, with the amount beside them, then the refund of exactly what was shown.

    The page's script asks for the amount of what is chosen, which the refund's own rule decides. Without a
    script the amount has a page of its own.
    """
    lines = list(order.lines.order_by("id"))
    form_class = partial(RefundForm, lines, _owed(order))
    preview = partial(_preview, order, lines, submit)
    if request.method == "POST" and "live" in request.POST:
        return _answer_live(form_class, preview, request)

    def perform(data: FormData, keyed: KeyedCall) -> StartedRefund | Replay:
        with _naming_left_units(lines):
            return refunding.start_refund(
                order_id=order.pk,
                wanted=data["wanted"],
                reason=data["reason"],
                restock=data["restock"],
                keyed=keyed,
                expected=_expected(data["shown"]),
            )

    left = {f"units_{line.pk}": line.left_quantity for line in lines}
    return Action(
        title=title % {"number": order},
        description=_left(order),
        submit=(submit or gettext("Refund %(amount)s")) % {"amount": "…"},
        keep=_("Don't refund"),
        form_class=form_class,
        template="admin/orders/order/refund.html",
        preview=preview,
        perform_keyed=perform,
        then=partial(dispatch.enqueue_shared, tasks.advance),
        once=f"refund {order.pk}",
        report=partial(_done, order),
        is_dangerous=True,
        initial={"what": ALL, **left} if with_all else {"what": SOME},
    )


def _answer_live(
    form_class: Callable[..., RefundForm], preview: Callable[[FormData], ActionPreview], request: HttpRequest
) -> JsonResponse:
    """The amount of what is chosen so far, or why it can't be refunded; the reason may be missing yet."""
    form = form_class({**request.POST.dict(), "reason": "-"})
    if not form.is_valid():
        texts = [str(text) for texts in form.errors.values() for text in texts]
        return JsonResponse({"refusal": " ".join(texts)})
    try:
        shown = preview(form.cleaned_data)
    except FirstcomeError as error:
        return JsonResponse({"refusal": refusal_text(error)})
    (points, points_amount), (card, card_amount), *_goods = shown.facts
    parts = f"{points}: {points_amount} · {card}: {card_amount}"
    return JsonResponse({"amount": shown.submit, "parts": parts, **shown.carried})


def _left(order: Order) -> str:
    """The amount of all that is left, or why nothing is."""
    try:
        preview = refunding.preview_refund(order_id=order.pk, wanted=None)
    except FirstcomeError as error:
        return str(error.detail)
    return gettext("%(amount)s can still be refunded.") % {"amount": amount(preview.amount, order.currency)}


def _owed(order: Order) -> str:
    owed_amount = refunding.owed_amount(order) if order.status in order_states.REFUNDABLE else 0
    return amount(owed_amount, order.currency) if owed_amount else ""


def _preview(order: Order, lines: Sequence[OrderLine], of_all: str, data: FormData) -> ActionPreview:
    with _naming_left_units(lines):
        preview = refunding.preview_refund(order_id=order.pk, wanted=data["wanted"])
    quantities = preview.quantities
    currency = order.currency
    submit = (data["wanted"] is None and of_all) or gettext("Refund %(amount)s")
    goods = gettext("yes") if data["restock"] else gettext("no")
    return ActionPreview(
        gettext("Refund %(amount)s?") % {"amount": amount(preview.amount, currency)},
        facts=[
            (gettext("In points"), amount(preview.points_amount, currency)),
            (gettext("By card"), amount(preview.card_amount, currency)),
            (gettext("Back in stock"), goods),
        ],
        warning=gettext("It can't be undone."),
        submit=submit % {"amount": amount(preview.amount, currency)},
        carried={"shown": SHOWN.dump_json(preview).decode()},
        table={
            "headers": [gettext("SKU"), gettext("Name"), gettext("Units"), gettext("Amount")],
            "rows": [
                [line.sku, line.name, quantities[id], amount(preview.line_amounts[id], currency)]
                for line in lines
                if (id := line.product_id) in quantities
            ],
        },
    )


def _expected(shown: str) -> RefundPreview:
    """What was shown. A form that doesn't say it was shown nothing, which is never what is refunded."""
    try:
        return SHOWN.validate_json(shown)
    except ValidationError:
        return NOTHING


def _done(order: Order, started: StartedRefund) -> str:
    refund = started.refund
    return gettext(
        "The refund of %(amount)s has started: %(points)s in points, %(card)s by card. This page shows "
        "how far it is."
    ) % {
        "amount": amount(refund.amount, order.currency),
        "points": amount(refund.points_amount),
        "card": amount(refund.card_amount),
    }


@contextmanager
def _naming_left_units(lines: Sequence[OrderLine]) -> Iterator[None]:
    """Have refusals say the units that are left of each product that they name."""
    names = {line.product_id: line.sku for line in lines}
    text = gettext("%(product)s: %(requested)s asked for, %(left)s left")
    try:
        yield
    except FirstcomeError as error:
        if items := error.extra.get("items"):
            short = [
                text
                % {"requested": one["requested"], "product": names[one["product"]], "left": one["refundable"]}
                for one in items
            ]
            error.detail = f"{error.detail} {'; '.join(short)}."
        raise


class RefundLineInline(ReadOnlyInline):
    model = RefundLine
    fields = ["line", "quantity", "amount"]


@admin.register(Refund)
class RefundAdmin(RecordsAdmin):
    list_display = ["about", "shown_status", "amount", "card_amount", "points_amount", "source", "created_at"]
    exported = [
        "order_id",
        "status",
        "amount",
        "points_amount",
        "card_amount",
        "restock",
        "source",
        "created_at",
    ]
    list_prefetch_related = ["order"]
    list_filter = ["status", "restock", "source"]
    search_fields = ["id", "order_id"]
    search_help_text = _("The id of a refund or of an order")
    inlines = [RefundLineInline]
    technical = ["refusal_code"]

    about = column(_("order"), lambda refund: number_text(refund.order))
