"""The board's page, and the figures that it asks for every second."""

import orjson
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET

from backoffice.board import history, snapshots
from shop.admin_base.actions import require_permission
from shop.admin_base.status_words import WORDS
from shop.errors import FirstcomeError, NotAuthenticated
from shop.http import problems
from shop.http.pages import middleware
from shop.management.laws import LAWS
from shop.pausing import LONGEST_REASON

PERMISSIONS = ("coupons.view_campaign", "sales.view_sale", "inventory.view_product", "orders.view_order")
STALE_SECONDS = 4
"""Without a new snapshot for so long the page says that its figures are old: they come every second."""
MISSED_SECONDS = 2
"""A page whose last point is older than this before the newest one is sent those in between."""


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
        "historyMinutes": history.MINUTES,
        "words": {code: gettext(word) for code, word in WORDS.items()},
        "laws": {law: gettext(says) for law, says in LAWS.items()},
    }
    shown = {"longest_reason": LONGEST_REASON, "site": settings.UNFOLD["SITE_HEADER"]}
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
    since = request.GET.get("since", "")
    known = int(since) if since.isascii() and since.isdigit() and len(since) < 12 else 0
    points = history.load(after=known, until=second - 1) if known < second - MISSED_SECONDS else {}
    content = orjson.dumps({"snapshot": orjson.Fragment(snapshot), "points": list(points.items())})
    return HttpResponse(content, content_type="application/json", headers={"Cache-Control": "no-store"})
