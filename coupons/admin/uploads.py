"""The admin's page that adds codes of a file to a campaign's pool: a check first, then the codes.

The browser sends the file in pieces of whole lines, each smaller than any body may be, first to be checked,
then to be added. So the server holds one piece in memory and none on disk, any process may get any piece, and
a piece whose answer was lost is sent again: `pool.add` skips the codes that exist.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from coupons import line_files, pool
from coupons.line_files import Kind, Piece
from coupons.models import Campaign
from shop.errors import FirstcomeError, invalid_field
from shop.http import problems
from shop.http.json_format import UnsupportedMediaType
from shop.normalization import normalized
from shop.operators.actions import require_permission
from shop.operators.forms import ReasonForm

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

PERMISSION = "coupons.add_poolcode"
PIECE_BYTES, PIECE_LINES = 48 * 1024, 4_000
FIRST_CODES = 10
# The texts of upload_codes.js, which fills in the values in braces.
SCRIPT_TEXTS = {
    "refused": _("The server refused it ({status}). Sign in again, and choose the file again."),
    "signedOut": _(
        "You are signed out. Sign in again, and choose the file again: codes that are in the pool are "
        "skipped."
    ),
    "unreachable": _(
        "The server is not reachable. Choose the file again later: codes that are in the pool are skipped."
    ),
    "noAnswer": _("The server does not answer; trying again…"),
    "notShown": _("The first {shown} are shown; {more} more are not."),
    "downloadAll": _("Download all"),
    "repeatedLine": _("line {line}: {code}, as on line {first}"),
    "detailLine": _("line {line}: {detail}"),
    "tooLongLine": _("line {line}: is longer than {bytes} bytes"),
    "checkedSoFar": _("{codes} codes checked…"),
    "badFile": _("Nothing can be added: {lines} lines are bad. Correct them, and choose the file again."),
    "checked": _("{file} is checked."),
    "codesInFile": _("Codes in the file"),
    "skippedInThisPool": _("In this campaign's pool already: skipped"),
    "skippedElsewhere": _("Taken by other campaigns: skipped"),
    "skippedTwice": _("Twice in the file: skipped"),
    "badLines": _("Bad lines"),
    "takenCodes": _("Taken by other campaigns or coupons"),
    "repeatedCodes": _("Twice in the file"),
    "firstCodes": _("The first codes"),
    "addCodes": _("Add {codes} codes"),
    "addAboutCodes": _("Add about {codes} codes"),
    "addAgain": _("Add the codes again"),
    "fileChanged": _("The file has changed since it was checked. Choose it again."),
    "addedSoFar": _("{done} of {codes} codes…"),
    "done": _("Done."),
    "added": _("Added"),
    "skippedInPool": _("In the pool already: skipped"),
    "totalCodes": _("Codes that the pool has had in all"),
    "skippedCodes": _("Skipped: taken by other campaigns or coupons"),
    "emptyFile": _("The file is empty."),
    "noReason": _("Enter the reason first: the journal keeps it."),
}
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
"""Bodies that are read as forms before a view sees them, and may be gone then."""
LARGEST_LINE_NUMBER = 10**9
REASON_HEADER = "X-Reason"
"""Of text that is quoted as in an address: a header has none but ASCII characters."""


@require_GET
def upload_page(request: HttpRequest, site: AdminSite, campaign_id: int) -> HttpResponse:
    """The page on which a file is chosen."""
    campaign = find_campaign(campaign_id)
    require_permission(request, PERMISSION)
    title = gettext("Upload codes for %(campaign)s") % {"campaign": campaign.name}
    steps = ("admin:coupons_campaign_check_piece", "admin:coupons_campaign_add_piece")
    page = page_context(campaign, title=title, texts=SCRIPT_TEXTS, steps=steps)
    return TemplateResponse(request, "coupons/upload_codes.html", site.each_context(request) | page)


def find_campaign(campaign_id: int) -> Campaign:
    """The campaign for which a file is uploaded. Raises `Http404`."""
    campaign = Campaign.objects.filter(pk=campaign_id).first()
    if campaign is None:
        raise Http404(f"There is no campaign {campaign_id}.")
    return campaign


def page_context(
    campaign: Campaign, *, title: str, texts: "Mapping[str, StrOrPromise]", steps: tuple[str, str]
) -> dict[str, Any]:
    """What the page of an upload shows; `steps` are the names of the addresses that check and add a piece."""
    check_address, add_address = (reverse(step, args=[campaign.pk]) for step in steps)
    return {
        "title": title,
        "campaign": campaign,
        "form": ReasonForm(),
        "opts": Campaign._meta,
        "check_address": check_address,
        "add_address": add_address,
        "piece_bytes": PIECE_BYTES,
        "piece_lines": PIECE_LINES,
        "texts": {name: str(text) for name, text in texts.items()},
    }


@require_POST
def check_piece(request: HttpRequest, campaign_id: int) -> HttpResponse:
    """What adding the codes of this piece would do; nothing is written."""
    return answer(request, lambda piece: _check(campaign_id, piece), permission=PERMISSION)


@require_POST
def add_piece(request: HttpRequest, campaign_id: int) -> HttpResponse:
    """Add the codes of this piece to the pool; none of them without a reason, or if a line is bad."""
    return answer(
        request, lambda piece: _add(campaign_id, piece, read_reason(request)), permission=PERMISSION
    )


def answer(
    request: HttpRequest,
    work: Callable[[Piece], dict[str, Any]],
    *,
    permission: str,
    kind: Kind = line_files.CODES,
) -> HttpResponse:
    """Answer with what `work` says of the piece in the request's body."""
    require_permission(request, permission)
    try:
        if request.content_type in FORMS:
            raise UnsupportedMediaType(gettext("Send the lines as they are, not as a form."))
        piece = line_files.read(request.body, first_line=_first_line(request), kind=kind)
        return JsonResponse(work(piece))
    except FirstcomeError as error:
        return problems.from_error(error).to_django()


def _check(campaign_id: int, piece: Piece) -> dict[str, Any]:
    found = pool.existing(campaign_id=campaign_id, codes=piece.texts)
    return {
        "codes": len(piece.lines),
        "bad": [asdict(bad) for bad in piece.errors],
        "first": piece.texts[:FIRST_CODES],
        **_skipped(piece, found),
    }


def _add(campaign_id: int, piece: Piece, reason: str) -> dict[str, Any]:
    require_no_errors(piece, field="codes")
    added = pool.add(campaign_id=campaign_id, codes=piece.texts, reason=reason)
    skipped = Counter(added.skipped)
    lines = [line for line in reversed(piece.lines) if _consume(skipped, line.text)]
    found = pool.existing(campaign_id=campaign_id, codes=[line.text for line in lines])
    of_skipped = Piece(lines=lines[::-1])
    return {"added": added.added, "total": added.total, **_skipped(of_skipped, found)}


def require_no_errors(piece: Piece, *, field: str) -> None:
    """Raise `Invalid` with the first bad line of the piece, if it has one."""
    if piece.errors:
        bad = piece.errors[0]
        text = gettext("Nothing of this piece was added: line %(line)s: %(detail)s.")
        raise invalid_field(field, bad.code, text % {"line": bad.line, "detail": bad.detail})


def _consume(counts: Counter[str], code: str) -> bool:
    """Whether the code is counted once more; it is then counted once less."""
    if not counts[code]:
        return False
    counts[code] -= 1
    return True


def _skipped(piece: Piece, found: pool.ExistingCodes) -> dict[str, Any]:
    """How many codes are in the pool already, and the lines of those that exist elsewhere."""
    return {
        "in_pool": sum(line.text in found.in_pool for line in piece.lines),
        "elsewhere": [[line.number, line.text] for line in piece.lines if line.text in found.elsewhere],
    }


def _first_line(request: HttpRequest) -> int:
    given = request.GET.get("first_line", "1")
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(LARGEST_LINE_NUMBER))
    if not (is_number and 1 <= int(given) <= LARGEST_LINE_NUMBER):
        raise invalid_field(
            "first_line", "not_a_line", gettext("first_line must be the number of a line, from 1 on.")
        )
    return int(given)


def read_reason(request: HttpRequest) -> str:
    """Why the lines are added. In a header, because the body is the piece, and addresses are logged."""
    form = ReasonForm({"reason": normalized(unquote(request.headers.get(REASON_HEADER, "")))})
    if not form.is_valid():
        raise invalid_field("reason", "invalid", str(form.errors["reason"][0]))
    return str(form.cleaned_data["reason"])
