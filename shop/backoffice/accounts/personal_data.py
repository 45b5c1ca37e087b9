"""The actions on an account's personal data: export it, and erase the account."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shop import clock
from shop.accounts import permissions
from shop.backoffice.accounts.actions import account_action, page_of
from shop.operators.actions import Action, ActionForm, ActionPreview
from shop.personal_data import erasure
from shop.personal_data import export as account_export


class EraseForm(ActionForm):
    forfeit_balance = forms.BooleanField(
        label=_("Forfeit the points"),
        required=False,
        help_text=_("Points left in the wallet go back to the shop. Without this they refuse the erasure."),
    )
    field_order = ["forfeit_balance", "reason"]


def _is_not_protected(request: HttpRequest, account: User) -> bool:
    """Staff accounts are for superusers only."""
    is_superuser = isinstance(request.user, User) and request.user.is_superuser
    return is_superuser or not (account.is_staff or account.is_superuser)


def _may_export(request: HttpRequest, account: User) -> bool:
    return request.user.has_perm(permissions.EXPORT) and _is_not_protected(request, account)


def _may_erase(request: HttpRequest, account: User) -> bool:
    is_other = account.pk != request.user.pk
    return is_other and request.user.has_perm(permissions.ERASE) and _is_not_protected(request, account)


@account_action(_("Export its data"), "download", _may_export)
def export(request: HttpRequest, account: User) -> Action:
    def respond(data: Mapping[str, Any]) -> HttpResponse:
        document = account_export.export(account_id=account.pk, reason=data["reason"])
        name = f'attachment; filename="account-{account.pk}.json"'
        return HttpResponse(
            document,
            content_type="application/json",
            headers={"Content-Disposition": name, "Cache-Control": "no-store"},
        )

    whole = gettext("Everything that the database has of the account, as one JSON file.")
    owners = gettext("The file is for the account's owner alone: delete it once it is handed over.")
    return Action(
        title=gettext("Export the data of %(account)s") % {"account": account.username},
        description=f"{whole} {owners}",
        submit=gettext("Export"),
        perform=respond,
        back=page_of(account),
    )


@account_action(_("Erase"), "delete_forever", _may_erase, variant="danger")
def erase(request: HttpRequest, account: User) -> Action:
    def perform(data: Mapping[str, Any]) -> str:
        wanted: Any = {
            "account_id": account.pk,
            "reason": data["reason"],
            "forfeit_balance": data["forfeit_balance"],
        }
        left = erasure.start(**wanted) - clock.now()
        if (seconds := left.total_seconds()) > 0:
            text = gettext("%(account)s is disabled. Erase it again in %(seconds)s seconds to complete it.")
            return text % {"account": account.username, "seconds": int(seconds) + 1}
        text = gettext("Account %(id)s was erased before: nothing was done.")
        if erasure.erase(**wanted).is_new:
            text = gettext("Account %(id)s is erased.")
        return text % {"id": account.pk}

    return Action(
        title=gettext("Erase %(account)s") % {"account": account.username},
        description=gettext(
            "Disables the account, and half a minute later, when this is sent again, replaces what names the "
            "person by a pseudonym. Orders and the ledger stay. It is refused while anything is open."
        ),
        submit=gettext("Erase"),
        form_class=EraseForm,
        preview=lambda data: ActionPreview(
            gettext("Erase %(account)s?") % {"account": account.username},
            warning=gettext("An erasure can't be taken back."),
        ),
        perform=perform,
        back=page_of(account),
        is_dangerous=True,
    )
