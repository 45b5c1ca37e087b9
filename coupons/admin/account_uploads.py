"""The admin's page that adds accounts of a file to a campaign's list: a check first, then the accounts.

It is the page of codes (`coupons.admin.uploads`) with other lines: the browser sends pieces of whole lines,
and any piece may be sent again, because accounts that are listed are skipped.
"""

from dataclasses import asdict
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from coupons import eligible_accounts, line_files
from coupons.admin import uploads
from coupons.line_files import BadLine, Piece
from shop.operators.actions import require_permission

PERMISSION = "coupons.add_eligibleaccount"
STEPS = ("admin:coupons_campaign_check_accounts", "admin:coupons_campaign_add_accounts")
# Where the texts of the page of codes say something of codes.
SCRIPT_TEXTS = uploads.SCRIPT_TEXTS | {
    "signedOut": _(
        "You are signed out. Sign in again, and choose the file again: accounts that are listed are skipped."
    ),
    "unreachable": _(
        "The server is not reachable. Choose the file again later: accounts that are listed are skipped."
    ),
    "checkedSoFar": _("{codes} accounts checked…"),
    "codesInFile": _("Accounts in the file"),
    "skippedInThisPool": _("Listed already: skipped"),
    "skippedElsewhere": _("Skipped for another reason"),
    "repeatedCodes": _("Twice in the file"),
    "firstCodes": _("The first accounts"),
    "addCodes": _("Add {codes} accounts"),
    "addAboutCodes": _("Add about {codes} accounts"),
    "addAgain": _("Add the accounts again"),
    "addedSoFar": _("{done} of {codes} accounts…"),
    "skippedInPool": _("Listed already: skipped"),
    "totalCodes": _("Accounts in the list"),
}


@require_GET
def upload_page(request: HttpRequest, site: AdminSite, campaign_id: int) -> HttpResponse:
    """The page on which a file is chosen."""
    campaign = uploads.find_campaign(campaign_id)
    require_permission(request, PERMISSION)
    title = gettext("Upload accounts for %(campaign)s") % {"campaign": campaign.name}
    page = uploads.page_context(campaign, title=title, texts=SCRIPT_TEXTS, steps=STEPS)
    return TemplateResponse(request, "coupons/upload_accounts.html", site.each_context(request) | page)


@require_POST
def check_piece(request: HttpRequest, campaign_id: int) -> HttpResponse:
    """What adding the accounts of this piece would do; nothing is written."""
    return _answer(request, lambda piece: _check(campaign_id, piece))


@require_POST
def add_piece(request: HttpRequest, campaign_id: int) -> HttpResponse:
    """Add the accounts of this piece to the list; none of them without a reason, or if a line is bad."""
    return _answer(request, lambda piece: _add(campaign_id, piece, uploads.read_reason(request)))


def _answer(request: HttpRequest, work: Any) -> HttpResponse:
    return uploads.answer(
        request, lambda piece: work(name_unknown(piece)), permission=PERMISSION, kind=line_files.ACCOUNTS
    )


def name_unknown(piece: Piece) -> Piece:
    """The piece, with the lines whose account doesn't exist among its bad lines."""
    unknown = eligible_accounts.unknown([int(text) for text in piece.texts])
    text = gettext("there is no account %(account)s")
    missing = [line for line in piece.lines if int(line.text) in unknown]
    errors = [BadLine(line.number, "unknown", text % {"account": line.text}) for line in missing]
    lines = [line for line in piece.lines if int(line.text) not in unknown]
    return Piece(lines, sorted([*piece.errors, *errors], key=lambda bad: bad.line))


def _check(campaign_id: int, piece: Piece) -> dict[str, Any]:
    account_ids = [int(text) for text in piece.texts]
    return {
        "codes": len(account_ids),
        "bad": [asdict(bad) for bad in piece.errors],
        "first": piece.texts[: uploads.FIRST_CODES],
        "in_pool": len(eligible_accounts.listed(campaign_id=campaign_id, account_ids=account_ids)),
        "elsewhere": [],
    }


def _add(campaign_id: int, piece: Piece, reason: str) -> dict[str, Any]:
    uploads.require_no_errors(piece, field="users")
    account_ids = [int(text) for text in piece.texts]
    added = eligible_accounts.add(campaign_id=campaign_id, account_ids=account_ids, reason=reason)
    return {"added": added.added, "total": added.total, "in_pool": len(added.skipped), "elsewhere": []}
