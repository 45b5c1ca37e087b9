"""The board's page, the figures that it asks for every second, and its buttons: pause and resume at once,
explain a pause afterwards, and raise a quantity, with a reason that the journal keeps.
"""

from typing import Any

import orjson
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from accounts.operating import pausing
from backoffice.board import snapshots
from coupons import campaigns
from foundation import literals
from foundation.admin_base.actions import require_permission
from foundation.admin_base.display import COLOURS
from foundation.admin_base.status_words import status_word
from foundation.errors import FirstcomeError, NotAuthenticated, invalid_field
from foundation.http import problems
from foundation.http.pages import middleware
from foundation.operations.audits.laws import LAWS
from foundation.reasons import LONGEST_REASON, check_reason
from inventory import products
from sales import terms

PERMISSIONS = ("coupons.view_campaign", "sales.view_sale", "inventory.view_product", "orders.view_order")
STALE_SECONDS = 4
"""Without a new snapshot for so long the page says that its figures are old: they come every second."""
MISSED_SECONDS = 2
"""A page whose last point is older than this before the newest one is sent those in between."""
KINDS: dict[str, Any] = {
    "campaigns": ("coupons.change_campaign", campaigns, "campaign_id", {"include_closed": True}),
    "products": ("inventory.change_product", products, "product_id", {"include_inactive": True}),
    "sales": ("sales.change_sale", terms, "sale_id", {}),
}
"""Of what is paused and resumed: the permission, the module, how its `set_paused` names the row's id, and
what has its `get` find every row.
"""
PAGES = ("admin:coupons_campaign_change", "admin:sales_sale_change", "product-page")
EXPLAIN = "explain"
BUTTONS = {
    ("campaigns", "pause"): _("%(name)s is paused. It issues no coupon until you resume it."),
    ("campaigns", "resume"): _(
        "%(name)s is resumed. It issues coupons again while it is open and has some left."
    ),
    ("campaigns", "quantity"): _("%(name)s has %(count)s coupons now, of which %(left)s are left."),
    ("products", "pause"): _(
        "%(name)s is paused. It can't be ordered until you resume it. Open orders go on."
    ),
    ("products", "resume"): _("%(name)s is resumed. It can be ordered again."),
    ("sales", "pause"): _(
        "%(name)s is paused. Its products can't be ordered, and the waiting room admits nobody."
    ),
    ("sales", "resume"): _("%(name)s is resumed. Buyers who were admitted have as much time left as before."),
    **{(kind, EXPLAIN): _("The reason is added to the history of %(name)s.") for kind in KINDS},
}
"""What is answered, by the kind of rows and the action."""


@require_GET
def board(request: HttpRequest) -> HttpResponse:
    """The page; it asks for its figures."""
    require_permission(request, *PERMISSIONS)
    options = {
        "figures": reverse("board:figures"),
        "base": reverse("board:page"),
        "pages": [reverse(name, args=[0]) for name in PAGES],
        "signIn": f"{reverse('admin:login')}?next={reverse('board:page')}",
        **{f"mayChange{kind.capitalize()}": request.user.has_perm(of[0]) for kind, of in KINDS.items()},
        "staleSeconds": STALE_SECONDS,
        "historyMinutes": snapshots.MINUTES,
        "words": {code: status_word(code) for code in COLOURS},
        "laws": {law: gettext(says) for law, says in LAWS.items()},
    }
    shown = {"longest_reason": LONGEST_REASON, "site": settings.UNFOLD["SITE_HEADER"]}
    shown["zone"] = settings.SHOP_TIME_ZONE
    return render(request, "backoffice/board/board.html", {"options": options, **shown})


@require_GET
def figures(request: HttpRequest) -> HttpResponse:
    """The newest snapshot, and the points of the history between it and the second `since`, as JSON."""
    request.META[middleware.BY_ITSELF_KEY] = True
    try:
        if not admin.site.has_permission(request):
            raise NotAuthenticated(gettext("Sign in to the admin as staff to watch the board."))
        require_permission(request, *PERMISSIONS)
        second, snapshot = snapshots.latest.get()
    except FirstcomeError as refusal:
        return problems.from_error(refusal).to_django()
    known = literals.row_number(request.GET.get("since", "")) or 0
    points = snapshots.load(after=known, until=second - 1) if known < second - MISSED_SECONDS else {}
    content = orjson.dumps({"snapshot": orjson.Fragment(snapshot), "points": list(points.items())})
    return HttpResponse(content, content_type="application/json", headers={"Cache-Control": "no-store"})


@require_POST
def press(request: HttpRequest, pk: int, kind: str, action: str) -> HttpResponse:
    """Act on the row, for accounts with the permission, and answer with what was done.

    A request without the token against forged requests is refused by Django's middleware before it.
    """
    permission, domain, id_name, finds_all = KINDS[kind]
    try:
        if not admin.site.has_permission(request):
            raise NotAuthenticated(gettext("Nothing was changed. Sign in again, and repeat it."))
        require_permission(request, *PERMISSIONS, permission)
        # Without a reason a pause happens at once; one that is sent empty is refused.
        reason = request.POST.get("reason")
        values = {}
        note = ""
        if action == "quantity":
            reason = check_reason(reason or "")
            quantity = literals.row_number(request.POST.get("quantity", "").strip())
            if not quantity:
                below = gettext("The quantity must be a whole number above 0.")
                raise invalid_field("quantity", "invalid", below)
            row = campaigns.raise_quantity(campaign_id=pk, quantity=quantity, reason=reason)
            values = {"count": f"{row.quantity:,}", "left": f"{row.remaining:,}"}
        elif action == EXPLAIN:
            row = domain.get(**{id_name: pk}, **finds_all)
            pausing.explain(kind.removesuffix("s"), pk, reason=reason or "")
        else:
            row = domain.set_paused(**{id_name: pk}, is_paused=action == "pause", reason=reason)
            if (kind, action) == ("campaigns", "pause"):
                note = campaigns.partner_note(row)
    except FirstcomeError as refusal:
        return problems.from_error(refusal).to_django()
    done = BUTTONS[kind, action] % {"name": row.name, **values}
    return JsonResponse({"detail": f"{done} {note}".strip()})
