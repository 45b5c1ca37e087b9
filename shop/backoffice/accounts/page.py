"""The page of one account."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from shop.accounts import sign_outs
from shop.backoffice import page_elements
from shop.backoffice.accounts import actions, sections


@require_safe
def show(request: HttpRequest, account_id: int) -> HttpResponse:
    """Show the account to an operator who may view accounts, with the parts that they may view."""
    if not page_elements.may_view(request, User):
        raise PermissionDenied("auth.view_user")
    account = get_object_or_404(User, pk=account_id)
    context = admin.site.each_context(request) | {
        "title": gettext("Account %(name)s") % {"name": account.username},
        "account": account,
        "facts": _facts(account),
        "buttons": actions.buttons(request, account),
        "sections": sections.read(request, account),
    }
    return TemplateResponse(request, "backoffice/account.html", context)


def _facts(account: User) -> list[tuple[str, Any]]:
    signed_out = sign_outs.last_sign_out(account.pk)
    kind = gettext("staff") if account.is_staff else gettext("customer")
    if account.is_superuser:
        kind = gettext("superuser")
    return [
        (gettext("Number"), account.pk),
        (gettext("E-mail"), account.email or "-"),
        (gettext("State"), page_elements.label("active" if account.is_active else "disabled")),
        (gettext("Kind"), kind),
        (gettext("Registered at"), page_elements.instant(account.date_joined)),
        (
            gettext("Signed out everywhere at"),
            page_elements.instant(signed_out.at) if signed_out else gettext("never"),
        ),
        (
            gettext("Account"),
            page_elements.link(
                gettext("Name, e-mail, password and rights"), "admin:auth_user_change", account.pk
            ),
        ),
    ]
