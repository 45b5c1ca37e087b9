"""Admin pages of API keys: a list, and actions that make, rotate and revoke them and show a secret once."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextInputWidget,
)

from shop import clock, form_fields
from shop.admin_site import ReadOnlyMixin
from shop.api_keys import keys, scopes
from shop.api_keys.keys import NewSecret
from shop.errors import FirstcomeError
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, Replay
from shop.models import ApiKey
from shop.operators import actions as operator_actions
from shop.operators.actions import Action, ActionForm, ActionPreview
from shop.operators.display import StatusLabel, status_label
from shop.operators.forms import SENT_BEFORE, ReasonDialog, keyed_call, reload_page
from shop.operators.lists import SearchMixin

LIST = "admin:shop_apikey_changelist"
LONGEST_DAYS = 3_650
COLOURS = {"valid": "success", "expired": "warning", "revoked": "danger"}


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
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("Empty: until it is revoked."),
    )
    field_order = ["name", "scopes", "days", "reason"]


class ApiKeyAdmin(SearchMixin, ReadOnlyMixin, ModelAdmin):
    """Keys of all accounts, revoked ones too; never their secrets."""

    list_display = ["name", "prefix", "maker", "state", "scope_list", "expires_at", "last_used_at"]
    list_select_related = ["maker"]
    list_filter = ["created_at"]
    search_fields = ["prefix"]
    search_help_text = _("The beginning of a key, such as fck_")
    ordering = ["-id"]
    fields = ["name", "prefix", "maker", "state", "scope_list", "created_at", "expires_at", "revoked_at"]
    fields += ["last_used_at"]
    actions_list = ["make"]
    actions_detail = ["rotate", "revoke"]

    def search(self, rows: "QuerySet[ApiKey]", term: str) -> "QuerySet[ApiKey]":
        """By the part of a secret that may be shown: the rest of a pasted one is not looked at."""
        return rows.filter(prefix__startswith=term[: keys.PREFIX_LENGTH])

    @display(description=_("state"))
    def state(self, key: ApiKey) -> StatusLabel:
        is_expired = key.expires_at is not None and key.expires_at <= clock.now()
        return status_label("revoked" if key.revoked_at else "expired" if is_expired else "valid", COLOURS)

    @admin.display(description=_("scopes"))
    def scope_list(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    def has_make_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("shop.add_apikey")

    def has_revoke_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("shop.change_apikey")

    @action(description=_("Make a key"), icon="add", permissions=["make"])
    def make(self, request: HttpRequest) -> HttpResponse:
        return operator_actions.run(request, _making(request))

    @action(description=_("Rotate"), icon="autorenew", permissions=["revoke"])
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.get_object(request, object_id)
        if key is None:
            raise Http404
        return operator_actions.run(request, _rotating(request, key))

    @action(
        description=_("Revoke"),
        icon="block",
        permissions=["revoke"],
        dialog={
            "title": _("Revoke this API key"),
            "description": _("Every process refuses it within a second. It can't be undone."),
            "form_class": ReasonDialog,
            "form_submit_text": _("Revoke"),
        },
    )
    def revoke(self, request: HttpRequest, form: ReasonDialog, object_id: str) -> HttpResponse:
        try:
            key = keys.revoke(key_id=int(object_id), reason=form.cleaned_data["reason"])
            self.message_user(request, gettext("API key %(prefix)s is revoked.") % {"prefix": key.prefix})
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        return reload_page("admin:shop_apikey_change", object_id)


def _making(request: HttpRequest) -> Action:
    def perform(data: Mapping[str, Any]) -> HttpResponse:
        meaning = sorted((name, str(value)) for name, value in data.items() if name != "form_id")
        return _respond_once(request, "make api key", data, meaning, lambda: _make(request, data))

    return Action(
        title=gettext("Make an API key"),
        description=gettext(
            "A program calls the API by it, with your rights at the moment of each call as far as its scopes "
            "allow. Its secret is shown once, after this."
        ),
        submit=gettext("Make the key"),
        form_class=MakeKeyForm,
        preview=lambda data: ActionPreview(
            gettext("Make the API key %(name)s?") % {"name": data["name"]},
            facts=[
                (gettext("Scopes"), ", ".join(data["scopes"])),
                (gettext("Valid for days"), str(data["days"] or gettext("until it is revoked"))),
                (gettext("Reason"), data["reason"]),
            ],
            warning=gettext("It may act for any account: order, pay by points, and read its rows.")
            if scopes.ACT in data["scopes"]
            else "",
        ),
        perform=perform,
        back=reverse(LIST),
    )


def _rotating(request: HttpRequest, key: ApiKey) -> Action:
    def perform(data: Mapping[str, Any]) -> HttpResponse:
        account_id = int(str(request.user.pk))
        return _respond_once(
            request,
            f"rotate api key {key.pk}",
            data,
            data["reason"],
            lambda: keys.rotate(key_id=key.pk, account_id=account_id, reason=data["reason"]),
        )

    return Action(
        title=gettext("Rotate the API key %(prefix)s") % {"prefix": key.prefix},
        description=gettext(
            "It gets a new secret, which is shown once, after this. The former one works for another 24 "
            "hours: revoke the key instead if others may have it."
        ),
        submit=gettext("Rotate"),
        form_class=ActionForm,
        preview=lambda data: ActionPreview(
            gettext("Give the API key %(name)s a new secret?") % {"name": key.name},
            facts=[(gettext("Reason"), data["reason"])],
        ),
        perform=perform,
        back=reverse("admin:shop_apikey_change", args=[key.pk]),
    )


def _make(request: HttpRequest, data: Mapping[str, Any]) -> NewSecret:
    days = data["days"]
    return keys.create(
        maker_id=int(str(request.user.pk)),
        name=data["name"],
        wanted_scopes=data["scopes"],
        expires_at=clock.now() + timedelta(days=days) if days else None,
        reason=data["reason"],
    )


def _respond_once(
    request: HttpRequest,
    what: str,
    data: Mapping[str, Any],
    meaning: object,
    work: Callable[[], NewSecret],
) -> HttpResponse:
    """Do the work once for the form, and show the secret; what is recorded for a repeat has no secret."""
    call = keyed_call(request, what, data["form_id"], meaning, answer=lambda _new: Answer(201, b"{}"))
    outcome = recorded_answers.run_once(call, work)
    if isinstance(outcome, Replay):
        rotate = gettext("A secret is shown once alone: rotate the key.")
        messages.warning(request, f"{SENT_BEFORE} {rotate}")
        return redirect(LIST)
    shown = {"title": gettext("The secret of the API key"), "key": outcome.key, "secret": outcome.secret}
    context = admin.site.each_context(request) | shown
    return TemplateResponse(request, "operators/api_key_secret.html", context)
