"""Admin pages of API keys: a list, and actions that make, rotate and revoke them and show a secret once."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.api_keys import keys
from accounts.models import ApiKey
from shop import clock, form_fields, scopes
from shop.admin_base.actions import Action, ActionForm, ActionPreview, button, page_of
from shop.admin_base.classes import ReadOnlyMixin
from shop.admin_base.display import StatusLabel, admin_page, status_label
from shop.admin_base.lists import SearchMixin, column

CHANGE = "accounts.change_apikey"
LONGEST_DAYS = 3_650


class MakeKeyForm(ActionForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("What the program is, such as: warehouse."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=[(scope, scope) for scope in scopes.ALL],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("What the program may call; “act” lets it act for accounts."),
    )
    days = form_fields.WholeNumberField(
        label=_("Valid for days"),
        required=False,
        min_value=1,
        max_value=LONGEST_DAYS,
        help_text=_("Empty: until it is revoked."),
    )
    field_order = ["name", "scopes", "days", "reason"]


@admin.register(ApiKey)
class ApiKeyAdmin(SearchMixin, ReadOnlyMixin, ModelAdmin):
    """Keys of all accounts, revoked ones too; never their secrets."""

    list_display = ["name", "prefix", "maker", "state", "scope_list", "expires_at", "last_used_at"]
    list_select_related = ["maker"]
    list_filter = ["created_at"]
    search_fields = ["prefix"]
    search_help_text = _("The beginning of a key, such as fc_key_")
    ordering = ["-id"]
    fields = ["name", "prefix", "maker", "state", "scope_list", "created_at", "expires_at", "revoked_at"]
    fields += ["last_used_at"]
    actions_list = ["make"]
    actions_detail = ["rotate", "revoke"]

    def search(self, rows: "QuerySet[ApiKey]", term: str) -> "QuerySet[ApiKey]":
        """By the part of a secret that may be shown: the rest of a pasted one is not looked at."""
        return rows.filter(prefix__startswith=term[: keys.PREFIX_LENGTH])

    scope_list = column(_("scopes"), lambda key: ", ".join(key.scopes))

    @admin.display(description=_("state"))
    def state(self, key: ApiKey) -> StatusLabel:
        is_expired = key.expires_at is not None and key.expires_at <= clock.now()
        return status_label("revoked" if key.revoked_at else "expired" if is_expired else "valid")

    @button(description=_("Make a key"), icon="add", permissions=["accounts.add_apikey"])
    def make(self, request: HttpRequest) -> Action:
        return Action(
            title=gettext("Make an API key"),
            description=gettext(
                "A program calls the API by it, with your rights at the moment of each call as far as its "
                "scopes allow. Its secret is shown once, after this."
            ),
            submit=gettext("Make the key"),
            form_class=MakeKeyForm,
            preview=_preview_of_new,
            perform=lambda data: keys.create(
                maker_id=int(str(request.user.pk)),
                name=data["name"],
                wanted_scopes=data["scopes"],
                expires_at=clock.now() + timedelta(days=data["days"]) if data["days"] else None,
                reason=data["reason"],
            ),
            once="make api key",
            report=_report_repeat,
            show=partial(_show_secret, request),
            back=reverse("admin:accounts_apikey_changelist"),
        )

    @button(description=_("Rotate"), icon="autorenew", permissions=[CHANGE])
    def rotate(self, request: HttpRequest, key: ApiKey) -> Action:
        return Action(
            title=gettext("Rotate the API key %(prefix)s") % {"prefix": key.prefix},
            description=gettext(
                "It gets a new secret, which is shown once, after this. The former one works for another 24 "
                "hours: revoke the key instead if others may have it."
            ),
            submit=gettext("Rotate"),
            perform=lambda data: keys.rotate(
                key_id=key.pk, account_id=int(str(request.user.pk)), reason=data["reason"]
            ),
            once=f"rotate api key {key.pk}",
            report=_report_repeat,
            show=partial(_show_secret, request),
            back=page_of(key),
        )

    @button(description=_("Revoke"), icon="block", permissions=[CHANGE])
    def revoke(self, request: HttpRequest, key: ApiKey) -> Action:
        return Action(
            title=_("Revoke this API key"),
            description=_("Every process refuses it within a second. It can't be undone."),
            submit=_("Revoke"),
            perform=lambda data: keys.revoke(key_id=key.pk, reason=data["reason"]),
            report=lambda revoked: gettext("API key %(prefix)s is revoked.") % {"prefix": revoked.prefix},
            back=page_of(key),
            is_dangerous=True,
        )


def _preview_of_new(data: Mapping[str, Any]) -> ActionPreview:
    acts = gettext("It may act for any account: order, pay by points, and read its rows.")
    return ActionPreview(
        gettext("Make the API key %(name)s?") % {"name": data["name"]},
        facts=[
            (gettext("Scopes"), ", ".join(data["scopes"])),
            (gettext("Valid for days"), str(data["days"] or gettext("until it is revoked"))),
        ],
        warning=acts if scopes.ACT in data["scopes"] else "",
    )


def _report_repeat(new: keys.NewSecret) -> str:
    """What is recorded for a repeat, which has no secret."""
    return gettext("A secret is shown once alone: rotate the key.")


def _show_secret(request: HttpRequest, new: keys.NewSecret) -> HttpResponse:
    shown = {"title": gettext("The secret of the API key"), "key": new.key, "secret": new.secret}
    return admin_page(request, "accounts/api_key_secret.html", shown)
