"""The board's buttons: pause, resume, and raise a quantity, each with a reason that the journal keeps."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_POST

from backoffice.board.page import PERMISSIONS
from coupons import campaigns, pausing as campaign_pausing
from inventory import pausing as product_pausing
from sales import pausing as sale_pausing
from shop import form_fields
from shop.admin_base.actions import require_permission
from shop.errors import FirstcomeError, NotAuthenticated, invalid_field
from shop.http import problems
from shop.pausing import check_reason

LARGEST_QUANTITY = 2**63 - 1
KINDS: dict[str, tuple[str, Any, str]] = {
    "campaigns": ("coupons.change_campaign", campaign_pausing, "campaign_id"),
    "products": ("inventory.change_product", product_pausing, "product_id"),
    "sales": ("sales.change_sale", sale_pausing, "sale_id"),
}
"""Of what is paused and resumed: the permission, the module, and how its functions name the row's id."""
BUTTONS = {
    ("campaigns", "pause"): _("%(name)s is paused: no process issues a coupon of it until it is resumed."),
    ("campaigns", "resume"): _("%(name)s is resumed: it issues coupons again, as far as its terms allow."),
    ("campaigns", "quantity"): _("%(name)s now has %(count)s coupons, %(left)s of them left."),
    ("products", "pause"): _(
        "%(name)s is paused: no process sells it until it is resumed. Open orders go on."
    ),
    ("products", "resume"): _("%(name)s is resumed: it can be ordered again."),
    ("sales", "pause"): _(
        "%(name)s is paused: none of its products can be ordered, and no entry is admitted."
    ),
    ("sales", "resume"): _("%(name)s is resumed: admitted accounts have as long left as they had."),
}
"""What is answered, by the kind of rows and the action."""


@require_POST
def press(request: HttpRequest, pk: int, kind: str, action: str) -> HttpResponse:
    """Act on the row, for accounts with the permission, and answer with what was done.

    A request without the token against forged requests is refused by Django's middleware before it.
    """
    permission, pausing, id_name = KINDS[kind]
    try:
        if not admin.site.has_permission(request):
            raise NotAuthenticated(gettext("Sign in to the admin again; nothing was changed."))
        require_permission(request, *PERMISSIONS, permission)
        reason = check_reason(request.POST.get("reason", ""))
        values, note = {}, ""
        if action == "quantity":
            quantity = _whole_number(request.POST.get("quantity", ""))
            row = campaigns.raise_quantity(campaign_id=pk, quantity=quantity, reason=reason)
            values = {"count": f"{row.quantity:,}", "left": f"{row.remaining:,}"}
        else:
            row = getattr(pausing, action)(**{id_name: pk}, reason=reason)
            if (kind, action) == ("campaigns", "pause"):
                note = campaign_pausing.partner_note(row)
    except FirstcomeError as refusal:
        return problems.from_error(refusal).to_django()
    done = BUTTONS[kind, action] % {"name": row.name, **values}
    return JsonResponse({"detail": f"{done} {note}".strip()})


def _whole_number(text: str) -> int:
    try:
        number: int = form_fields.WholeNumberField(min_value=1, max_value=LARGEST_QUANTITY).clean(text)
    except ValidationError:
        below = gettext("The quantity must be a whole number above 0.")
        raise invalid_field("quantity", "invalid", below) from None
    return number
