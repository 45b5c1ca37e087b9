"""The page of the search, which needs no script, and what the box shows while a term is typed."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from backoffice.search import finders
from backoffice.search.finders import LONGEST_TERM, Match

MOST_OF_A_KIND = 20
MOST_WHILE_TYPED = 4
SHORTEST_WHILE_TYPED = 3


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """What the term `q` finds. A row is opened at once if the whole term names it, and nothing else."""
    term = _term(request)
    is_searched = 0 < len(term) <= LONGEST_TERM
    hits = finders.find(request, term, most=MOST_OF_A_KIND, is_sent=True) if is_searched else []
    # What the whole term names, if nothing else begins with it.
    meant = [hit for hit in hits if hit.match != Match.BESIDE]
    if [hit.match for hit in meant] == [Match.WHOLE]:
        return redirect(meant[0].address)
    context = admin.site.each_context(request) | {
        "title": _("Search"),
        "term": term[:LONGEST_TERM],
        "hits": hits,
        "may_search": finders.may_search(request),
        "is_too_long": len(term) > LONGEST_TERM,
        "longest": LONGEST_TERM,
        "most": MOST_OF_A_KIND,
    }
    return TemplateResponse(request, "backoffice/search/page.html", context)


@require_safe
def hits_while_typed(request: HttpRequest) -> JsonResponse:
    """The first hits for the beginning of a term, for the box's list; none for a very short one."""
    term = _term(request)
    is_searched = SHORTEST_WHILE_TYPED <= len(term) <= LONGEST_TERM
    hits = finders.find(request, term, most=MOST_WHILE_TYPED, is_sent=False) if is_searched else []
    shown = ("kind", "title", "detail", "address")
    return JsonResponse({"hits": [{name: getattr(hit, name) for name in shown} for hit in hits]})


def _term(request: HttpRequest) -> str:
    # A character that no name has, and that databases refuse.
    return request.GET.get("q", "").replace("\x00", "").strip()
