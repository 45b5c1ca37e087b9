"""Admin pages of campaigns: their terms, schedule and pools."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin

from coupons import campaign_products, campaigns, eligible_accounts, pausing, shared_codes
from coupons.admin import adding
from coupons.admin.campaign_forms import TEMPLATES, CampaignForm, DuplicateForm, ScheduleForm
from coupons.models import Campaign
from shop import clock
from shop.admin_site import REASON, NonAtomicAdmin, ReasonedChangesMixin
from shop.operators import actions
from shop.operators.actions import Action, button
from shop.operators.display import status_label
from shop.operators.lists import column
from shop.operators.pausing import PausingMixin

ADD_CODES, LIST_ACCOUNTS = ["coupons.add_poolcode"], ["coupons.add_eligibleaccount"]
SEE_RESULTS = ["coupons.view_campaign", "coupons.view_coupon", "orders.view_order"]
EXPORT_COUPONS = ["coupons.view_coupon", "shop.export_list"]
SHOWN_PRODUCTS = "shown_products"
LISTED_COUNT = "listed_count"
"""The attribute of a page's campaign with the length of its list."""


@admin.register(Campaign)
class CampaignAdmin(ReasonedChangesMixin, PausingMixin, ModelAdmin, NonAtomicAdmin):
    form = CampaignForm
    list_display = ["id", "name", "shown_status", "strategy", "quantity", "issued", "remaining", "opens_at"]
    list_filter = ["strategy", "code_source", "opens_at"]
    search_fields = ["name", "shared_code"]
    ordering = ["-id"]
    readonly_fields = [
        "shown_status",
        "paused_at",
        "issued",
        "confirming",
        "remaining",
        "codes_added",
        "listed_accounts",
        "created_at",
    ]
    fields = [*CampaignForm.Meta.fields, *readonly_fields]
    actions = ["pause_selected", "resume_selected"]
    actions_detail = [
        "pause",
        "resume",
        "results",
        "schedule",
        "duplicate",
        {"title": _("Codes"), "icon": "list", "items": ["add_codes", "upload_codes", "export_coupons"]},
        {"title": _("Accounts"), "icon": "group", "items": ["list_accounts", "upload_accounts"]},
    ]
    change_form_before_template = "coupons/campaign_templates.html"
    templates = TEMPLATES

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The terms of the template that the address names."""
        template = TEMPLATES.get(request.GET.get("template", ""))
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return initial | (dict(template.terms) if template else {})

    shown_status = column(_("status"), lambda campaign: status_label(campaign.status_at(clock.now())))
    remaining = column(_("remaining"), lambda campaign: campaign.remaining)
    # In the place of the form's field, where they can't be changed.
    shown_products = column(
        _("products"), lambda campaign: ", ".join(campaign_products.skus(campaign.product_ids)) or "-"
    )

    @admin.display(description=_("listed accounts"))
    def listed_accounts(self, campaign: Campaign) -> int:
        # Unfold renders the field five times for a page, and the list may be long.
        known = vars(campaign)
        if LISTED_COUNT not in known:
            known[LISTED_COUNT] = eligible_accounts.count(campaign.pk)
        return int(known[LISTED_COUNT])

    def get_fields(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        """A new campaign's page has the form alone, with its id."""
        if obj is None:
            return [*CampaignForm.Meta.fields, "form_id"]
        is_fixed = obj.issued + obj.confirming > 0 or not self.has_change_permission(request, obj)
        return [SHOWN_PRODUCTS if is_fixed and name == "products" else name for name in self.fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[str]:
        fixed = campaigns.FIXED_ONCE_ISSUED if obj and obj.issued + obj.confirming else ()
        of_columns = [name for name in fixed if name != "products"]
        return [*self.readonly_fields, SHOWN_PRODUCTS, *of_columns]

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        """Write only the fields that were changed here: the page's copy of `issued` may be out of date."""
        names = form.changed_data if change else CampaignForm.Meta.fields
        terms = {name: form.cleaned_data[name] for name in names}
        if change:
            campaigns.change(campaign_id=obj.pk, **terms, reason=form.cleaned_data[REASON])
        else:
            id = form.cleaned_data["form_id"]
            obj.pk = actions.create_once(
                request, id, "create campaign", lambda: campaigns.create(**terms), meaning=terms
            )
        self._warn_of_short_code(request, terms.get("shared_code"))

    def _warn_of_short_code(self, request: HttpRequest, shared_code: str | None) -> None:
        if shared_code and len(shared_code) < shared_codes.SAFE_LENGTH:
            text = gettext("The shared code is easy to guess: it has fewer than %(length)s characters.")
            self.message_user(request, text % {"length": shared_codes.SAFE_LENGTH}, level=messages.WARNING)

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Campaign:
        return pausing.set_paused(campaign_id=row_id, is_paused=is_paused, reason=reason)

    def pausing_note(self, row: Campaign) -> str:
        return pausing.partner_note(row)

    @button(description=_("Add codes"), icon="add", permissions=ADD_CODES)
    def add_codes(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.add_codes(request, campaign)

    @button(description=_("Upload codes"), icon="upload_file", permissions=ADD_CODES)
    def upload_codes(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.upload(adding.codes_of(campaign))

    @button(description=_("List accounts"), icon="group_add", permissions=LIST_ACCOUNTS)
    def list_accounts(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.change_list(campaign)

    @button(description=_("Upload accounts"), icon="upload_file", permissions=LIST_ACCOUNTS)
    def upload_accounts(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.upload(adding.accounts_of(campaign))

    @button(description=_("Schedule"), icon="schedule", permissions=["change"])
    def schedule(self, request: HttpRequest, campaign: Campaign) -> Action:
        return Action(
            title=_("Schedule this campaign"),
            description=_("When it opens and closes. All times are UTC."),
            submit=_("Schedule"),
            form_class=partial(ScheduleForm, campaign),
            perform=lambda data: campaigns.schedule(
                campaign_id=campaign.pk,
                opens_at=data["opens_at"],
                closes_at=data["closes_at"],
                reason=data[REASON],
            ),
            report=_scheduled_text,
            back=actions.page_of(campaign),
        )

    @button(description=_("Duplicate"), icon="content_copy", permissions=["add"])
    def duplicate(self, request: HttpRequest, campaign: Campaign) -> Action:
        def perform(data: Mapping[str, Any]) -> HttpResponse:
            terms = {name: data[name] for name in ("name", "opens_at", "closes_at", "shared_code")}
            copy = actions.create_once(
                request,
                data["form_id"],
                "duplicate campaign",
                lambda: campaigns.duplicate(campaign_id=campaign.pk, **terms, reason=data[REASON]),
                meaning=(campaign.pk, terms),
            )
            self._warn_of_short_code(request, terms["shared_code"])
            text = gettext("This is the copy, %(name)s; it opens at %(at)s UTC.")
            opens_at = f"{terms['opens_at']:%Y-%m-%d %H:%M}"
            self.message_user(request, text % {"name": terms["name"], "at": opens_at})
            return redirect("admin:coupons_campaign_change", copy)

        return Action(
            title=_("Duplicate this campaign"),
            description=_("The same terms under a new name, scheduled, without codes and coupons."),
            submit=_("Duplicate"),
            form_class=DuplicateForm,
            initial={"name": gettext("%(name)s (copy)") % {"name": campaign.name[:240]}},
            perform=perform,
            back=actions.page_of(campaign),
        )

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Unfold asks with the id of the campaign whose button it is."""
        allowed: bool = super().has_add_permission(request)
        return allowed

    @button(description=_("Results"), icon="monitoring", permissions=SEE_RESULTS)
    def results(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """The issue curve and the revenue, which a page of all apps shows."""
        return redirect("campaign-results", campaign_id=campaign.pk)

    @button(description=_("Export coupons"), icon="download", permissions=EXPORT_COUPONS)
    def export_coupons(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        page = reverse("export-list", args=["coupons", "coupon"])
        return redirect(f"{page}?campaign__id__exact={campaign.pk}")


def _scheduled_text(campaign: Campaign) -> str:
    """When the campaign opens and closes."""
    text = gettext("%(name)s opens at %(opens_at)s and closes at %(closes_at)s (UTC).")
    if campaign.closes_at is None:
        text = gettext("%(name)s opens at %(opens_at)s and stays open (UTC).")
    opens_at, closes_at = (at and f"{at:%Y-%m-%d %H:%M:%S}" for at in (campaign.opens_at, campaign.closes_at))
    return text % {"name": campaign.name, "opens_at": opens_at, "closes_at": closes_at}
