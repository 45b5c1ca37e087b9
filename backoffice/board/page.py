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
from foundation.admin_base.status_words import WORDS
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
KINDS: dict[str, tuple[str, Any, str]] = {
    "campaigns": ("coupons.change_campaign", campaigns, "campaign_id"),
    "products": ("inventory.change_product", products, "product_id"),
    "sales": ("sales.change_sale", terms, "sale_id"),
}
"""Of what is paused and resumed: the permission, the module, and how its `set_paused` names the row's id."""
FINDS_ALL: dict[str, dict[str, bool]] = {
    "campaigns": {"include_closed": True},
    "products": {"include_inactive": True},
    "sales": {},
}
EXPLAIN = "explain"
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
        "signIn": f"{reverse('admin:login')}?next={reverse('board:page')}",
        "mayChangeCampaigns": request.user.has_perm("coupons.change_campaign"),
        "mayChangeSales": request.user.has_perm("sales.change_sale"),
        "mayChangeProducts": request.user.has_perm("inventory.change_product"),
        "staleSeconds": STALE_SECONDS,
        "historyMinutes": snapshots.MINUTES,
        "words": {code: gettext(word) for code, word in WORDS.items()},
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
    permission, domain, id_name = KINDS[kind]
    try:
        if not admin.site.has_permission(request):
            raise NotAuthenticated(gettext("Sign in to the admin again; nothing was changed."))
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
            row = domain.get(**{id_name: pk}, **FINDS_ALL[kind])
            pausing.explain(kind.removesuffix("s"), pk, reason=reason or "")
        else:
            row = domain.set_paused(**{id_name: pk}, is_paused=action == "pause", reason=reason)
            if (kind, action) == ("campaigns", "pause"):
                note = campaigns.partner_note(row)
    except FirstcomeError as refusal:
        return problems.from_error(refusal).to_django()
    done = BUTTONS[kind, action] % {"name": row.name, **values}
    return JsonResponse({"detail": f"{done} {note}".strip()})
