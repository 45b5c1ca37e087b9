"""Refusals of pages in a browser: which right is missing and who has it, or that nothing is there.

Django's handlers of 403 and 404, and a middleware for forms with a password that got no turn. A program,
whose `Accept` doesn't name HTML, gets the problem of the API.
"""

import re
from collections.abc import Callable

from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext

from shop.admin_site import refusal_text
from shop.http import problems
from shop.http.pages.middleware import REFUSAL_KEY
from shop.observability import request_metrics

PAGE_OF_A_MODEL = re.compile(r"(\w+?)_(\w+)_(changelist|add|change|delete|history)")
"""The names of the admin's addresses: the app, the model, and what the page does."""
RIGHT_OF_A_PAGE = {"changelist": "view", "history": "view"}


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Name the rights: the arguments of Django's `PermissionDenied`, or those that the address needs."""
    if not problems.is_for_people(request):
        return problems.permission_denied(request, exception)
    names = problems.missing_permissions(exception) or _rights_of_address(request)
    rights = [_describe(name) for name in dict.fromkeys(names) if not request.user.has_perm(name)]
    return _page(request, 403, gettext("This account may not do that"), rights)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Lead back to where there are pages."""
    if not problems.is_for_people(request):
        return problems.not_found(request, exception)
    return _page(request, 404, gettext("There is no such page"), [])


def show_refused_turn(handler: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Say why a form with a password was not looked at, and when to send it again."""

    def answered(request: HttpRequest) -> HttpResponse:
        refusal = request.META.get(REFUSAL_KEY)
        if refusal is None:
            return handler(request)
        problem = problems.from_error(refusal)
        request_metrics.count_refusal("", problem.status_code, problem.code)
        title = gettext("Refused: nothing was done.")
        page = _page(request, problem.status_code, title, [], detail=refusal_text(refusal))
        page.headers["Retry-After"] = problem.headers["Retry-After"]
        return page

    return answered


def _page(
    request: HttpRequest, status: int, title: str, rights: list[dict[str, object]], *, detail: str = ""
) -> HttpResponse:
    # A request may be refused before its account is known.
    is_staff = hasattr(request, "user") and admin.site.has_permission(request)
    layout = "admin/base_site.html" if is_staff else "unfold/layouts/unauthenticated.html"
    context = admin.site.each_context(request) if is_staff else {}
    context |= {"layout": layout, "title": title, "status": status, "rights": rights, "is_staff": is_staff}
    context["detail"] = detail
    return render(request, "operators/refusal.html", context, status=status)


def _rights_of_address(request: HttpRequest) -> list[str]:
    found = PAGE_OF_A_MODEL.fullmatch((request.resolver_match and request.resolver_match.url_name) or "")
    if found is None:
        return []
    app, model, what = found.groups()
    return [f"{app}.{RIGHT_OF_A_PAGE.get(what, what)}_{model}"]


def _describe(name: str) -> dict[str, object]:
    """The right in words, and the groups that have it."""
    app, _, codename = name.partition(".")
    permission = Permission.objects.filter(content_type__app_label=app, codename=codename).first()
    groups = Group.objects.filter(permissions=permission).order_by("name") if permission else []
    return {"name": name, "words": permission.name if permission else name, "groups": [*groups]}
