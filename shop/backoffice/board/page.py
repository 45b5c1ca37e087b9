"""The board's page, and the view that decides whether a request may have its stream."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET

from shop.backoffice.board import access, readings, stream, texts
from shop.backoffice.board import history as board_history
from shop.errors import FirstcomeError, Unavailable
from shop.http import problems
from shop.operators.actions import require_permission
from shop.pausing import LONGEST_REASON

STALE_SECONDS = 4
"""Without an event for so long the page says that its figures are old: snapshots come every second."""
DATABASE_STALE_SECONDS = 12
"""The same of what is read from the database: readings rest for five seconds at most."""
COUNTS_STALE_SECONDS = 4
"""The same of what processes share over Redis, which is read every second."""


@require_GET
def board(request: HttpRequest) -> HttpResponse:
    """The page; its figures come by the stream."""
    require_permission(request, *access.PERMISSIONS)
    options = {
        "stream": reverse("board:stream"),
        "base": reverse("board:page"),
        "signIn": f"{reverse('admin:login')}?next={reverse('board:page')}",
        "mayChangeCampaigns": request.user.has_perm("coupons.change_campaign"),
        "mayChangeSales": request.user.has_perm("sales.change_sale"),
        "mayChangeProducts": request.user.has_perm("inventory.change_product"),
        "staleSeconds": STALE_SECONDS,
        "databaseStaleSeconds": DATABASE_STALE_SECONDS,
        "countsStaleSeconds": COUNTS_STALE_SECONDS,
        "historyMinutes": board_history.MINUTES,
        "rateSeconds": board_history.RATE_SECONDS,
        **texts.read(),
    }
    context = {
        "options": options,
        "longest_reason": LONGEST_REASON,
        "most_campaigns": readings.CAMPAIGNS_SHOWN,
        "site": settings.UNFOLD["SITE_HEADER"],
    }
    return render(request, "backoffice/board/board.html", context)


@require_GET
def stream_access(request: HttpRequest) -> HttpResponse:
    """Let the web server's coroutine stream to this request, or say why not; see `stream.serve`."""
    try:
        identity = access.require_viewer(request)
        if stream.ALLOWED_VIEWERS_KEY not in request.META:
            raise Unavailable(
                gettext("The board is streamed by the shop's own web server only: see `make run`.")
            )
    except FirstcomeError as refusal:
        return problems.from_error(refusal).to_django()
    request.META[stream.ALLOWED_VIEWERS_KEY].append(identity)
    return HttpResponse(status=204)


def may_see(request: HttpRequest) -> bool:
    """Whether the account finds the board in the navigation."""
    return request.user.has_perms(access.PERMISSIONS)
