"""The board's buttons: pause, resume, and raise a quantity, each with a reason that the journal keeps."""

from collections.abc import Callable
from functools import wraps

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from coupons import campaigns
from coupons import pausing as campaign_pausing
from inventory import pausing as product_pausing
from sales import pausing as sale_pausing
from shop.backoffice.board.page import PERMISSIONS
from shop.errors import FirstcomeError, NotAuthenticated, invalid_field
from shop.http import problems
from shop.operators.actions import require_permission
from shop.pausing import check_reason

LARGEST_QUANTITY = 2**63 - 1
LONGEST_NUMBER = len(str(LARGEST_QUANTITY))
Perform = Callable[[int, str, HttpRequest], str]
View = Callable[..., HttpResponse]


def _button(permission: str) -> Callable[[Perform], View]:
    """A view that lets accounts with the permission do something, and answers with what was done.

    A request without the token against forged requests is refused by Django's middleware before it.
    """

    def decorate(perform: Perform) -> View:
        @require_POST
        @wraps(perform)
        def view(request: HttpRequest, pk: int) -> HttpResponse:
            try:
                if not admin.site.has_permission(request):
                    raise NotAuthenticated(gettext("Sign in to the admin again; nothing was changed."))
                require_permission(request, *PERMISSIONS, permission)
                reason = check_reason(request.POST.get("reason", ""))
                return JsonResponse({"detail": perform(pk, reason, request)})
            except FirstcomeError as refusal:
                return problems.from_error(refusal).to_django()

        return view

    return decorate


@_button("coupons.change_campaign")
def pause_campaign(pk: int, reason: str, request: HttpRequest) -> str:
    campaign = campaign_pausing.pause(campaign_id=pk, reason=reason)
    text = gettext("%(name)s is paused: no process issues a coupon of it until it is resumed.")
    done = text % {"name": campaign.name}
    return f"{done} {campaign_pausing.partner_note(campaign)}".strip()


@_button("coupons.change_campaign")
def resume_campaign(pk: int, reason: str, request: HttpRequest) -> str:
    campaign = campaign_pausing.resume(campaign_id=pk, reason=reason)
    text = gettext("%(name)s is resumed: it issues coupons again, as far as its terms allow.")
    return text % {"name": campaign.name}


@_button("coupons.change_campaign")
def raise_quantity(pk: int, reason: str, request: HttpRequest) -> str:
    quantity = _whole_number(request.POST.get("quantity", ""))
    campaign = campaigns.raise_quantity(campaign_id=pk, quantity=quantity, reason=reason)
    return gettext("%(name)s now has %(count)s coupons, %(left)s of them left.") % {
        "name": campaign.name,
        "count": f"{campaign.quantity:,}",
        "left": f"{campaign.remaining:,}",
    }


@_button("inventory.change_product")
def pause_product(pk: int, reason: str, request: HttpRequest) -> str:
    product = product_pausing.pause(product_id=pk, reason=reason)
    text = gettext("%(name)s is paused: no process sells it until it is resumed. Open orders go on.")
    return text % {"name": product.name}


@_button("inventory.change_product")
def resume_product(pk: int, reason: str, request: HttpRequest) -> str:
    product = product_pausing.resume(product_id=pk, reason=reason)
    return gettext("%(name)s is resumed: it can be ordered again.") % {"name": product.name}


@_button("sales.change_sale")
def pause_sale(pk: int, reason: str, request: HttpRequest) -> str:
    sale = sale_pausing.pause(sale_id=pk, reason=reason)
    text = gettext("%(name)s is paused: none of its products can be ordered, and no entry is admitted.")
    return text % {"name": sale.name}


@_button("sales.change_sale")
def resume_sale(pk: int, reason: str, request: HttpRequest) -> str:
    sale = sale_pausing.resume(sale_id=pk, reason=reason)
    text = gettext("%(name)s is resumed: admitted accounts have as long left as they had.")
    return text % {"name": sale.name}


def _whole_number(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    if not is_number or not 0 < int(text) <= LARGEST_QUANTITY:
        raise invalid_field("quantity", "invalid", gettext("The quantity must be a whole number above 0."))
    return int(text)
