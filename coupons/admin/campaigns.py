"""Admin pages of campaigns: their terms, schedule and pools."""

from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from coupons import campaign_products, campaigns, eligible_accounts, pausing, shared_codes
from coupons.admin import add_codes_page, listed_accounts_page, uploads
from coupons.admin.campaign_forms import CampaignForm, DuplicateForm, ScheduleForm
from coupons.admin.campaign_templates import TEMPLATES
from coupons.admin.status_colours import COLOURS
from coupons.models import Campaign
from shop import clock
from shop.admin_site import REASON, NonAtomicAdmin, ReasonedChangesMixin
from shop.errors import FirstcomeError
from shop.operators import created_once
from shop.operators.display import status_label
from shop.operators.forms import SENT_BEFORE, reload_page
from shop.operators.pausing import PausingMixin

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

    @display(description=_("status"))
    def shown_status(self, campaign: Campaign) -> str:
        return "-" if campaign.pk is None else status_label(campaign.status_at(clock.now()), COLOURS)

    @admin.display(description=_("remaining"))
    def remaining(self, campaign: Campaign) -> int | str:
        return "-" if campaign.pk is None else campaign.remaining

    @admin.display(description=_("products"))
    def shown_products(self, campaign: Campaign) -> str:
        """The products where they can't be changed, in the place of the form's field."""
        return ", ".join(campaign_products.skus(campaign.product_ids)) or "-"

    @admin.display(description=_("listed accounts"))
    def listed_accounts(self, campaign: Campaign) -> int | str:
        if campaign.pk is None:
            return "-"
        # Unfold renders the field five times for a page, and the list may be long.
        known = vars(campaign)
        if LISTED_COUNT not in known:
            known[LISTED_COUNT] = eligible_accounts.count(campaign.pk)
        return int(known[LISTED_COUNT])

    def get_fields(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        """A new campaign's page carries the form's id too."""
        if obj is None:
            return [*self.fields, "form_id"]
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
            created = created_once.run(
                request, form, "create campaign", lambda: campaigns.create(**terms), meaning=terms
            )
            obj.pk = created.pk
            if created.is_repeat:
                self.message_user(request, SENT_BEFORE)
        self._warn_of_short_code(request, terms.get("shared_code"))

    def _warn_of_short_code(self, request: HttpRequest, shared_code: str | None) -> None:
        if shared_code and len(shared_code) < shared_codes.SAFE_LENGTH:
            text = gettext("The shared code is easy to guess: it has fewer than %(length)s characters.")
            self.message_user(request, text % {"length": shared_codes.SAFE_LENGTH}, level=messages.WARNING)

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Campaign:
        change = pausing.pause if is_paused else pausing.resume
        return change(campaign_id=row_id, reason=reason)

    def pausing_note(self, row: Campaign) -> str:
        return pausing.partner_note(row)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response: HttpResponse = super().changeform_view(request, *args, **kwargs)
        except FirstcomeError as error:
            self.message_user(request, created_once.refusal_text(error), level=messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return response

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Never: campaigns are closed instead, because their coupons refer to them."""
        return False

    def has_add_codes_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A method, because unfold looks a codename up in the database, which is empty before `migrate`."""
        return request.user.has_perm("coupons.add_poolcode")

    @action(description=_("Add codes"), icon="add", permissions=["add_codes"])
    def add_codes(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return add_codes_page.respond(request, self._campaign(request, object_id))

    @action(description=_("Upload codes"), icon="upload_file", permissions=["add_codes"])
    def upload_codes(self, request: HttpRequest, object_id: str) -> HttpResponse:
        campaign = self._campaign(request, object_id)
        return uploads.respond(request, campaign, uploads.codes_of(campaign))

    def has_list_accounts_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("coupons.add_eligibleaccount")

    @action(description=_("List accounts"), icon="group_add", permissions=["list_accounts"])
    def list_accounts(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return listed_accounts_page.respond(request, self._campaign(request, object_id))

    @action(description=_("Upload accounts"), icon="upload_file", permissions=["list_accounts"])
    def upload_accounts(self, request: HttpRequest, object_id: str) -> HttpResponse:
        campaign = self._campaign(request, object_id)
        return uploads.respond(request, campaign, uploads.accounts_of(campaign))

    @action(
        description=_("Schedule"),
        icon="schedule",
        permissions=["change"],
        dialog={
            "title": _("Schedule this campaign"),
            "description": _("When it opens and closes. All times are UTC."),
            "form_class": ScheduleForm,
            "form_submit_text": _("Schedule"),
        },
    )
    def schedule(self, request: HttpRequest, form: ScheduleForm, object_id: str) -> HttpResponse:
        campaign = self._campaign(request, object_id)
        try:
            changed = campaigns.schedule(
                campaign_id=campaign.pk, **form.times(), reason=form.cleaned_data[REASON]
            )
            self.message_user(request, _scheduled_text(changed))
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        return reload_page("admin:coupons_campaign_change", object_id)

    @action(
        description=_("Duplicate"),
        icon="content_copy",
        permissions=["add"],
        dialog={
            "title": _("Duplicate this campaign"),
            "description": _("The same terms under a new name, scheduled, without codes and coupons."),
            "form_class": DuplicateForm,
            "form_submit_text": _("Duplicate"),
        },
    )
    def duplicate(self, request: HttpRequest, form: DuplicateForm, object_id: str) -> HttpResponse:
        campaign = self._campaign(request, object_id)
        terms = {name: form.cleaned_data[name] for name in ("name", "opens_at", "closes_at", "shared_code")}
        try:
            copy = created_once.run(
                request,
                form,
                "duplicate campaign",
                lambda: campaigns.duplicate(
                    campaign_id=campaign.pk, **terms, reason=form.cleaned_data[REASON]
                ),
                meaning=(campaign.pk, terms),
            )
        except FirstcomeError as error:
            self.message_user(request, created_once.refusal_text(error), level=messages.ERROR)
            return reload_page("admin:coupons_campaign_change", object_id)
        if copy.is_repeat:
            self.message_user(request, SENT_BEFORE)
        self._warn_of_short_code(request, terms["shared_code"])
        text = gettext("This is the copy, %(name)s; it opens at %(at)s UTC.")
        opens_at = f"{terms['opens_at']:%Y-%m-%d %H:%M}"
        self.message_user(request, text % {"name": terms["name"], "at": opens_at})
        return reload_page("admin:coupons_campaign_change", str(copy.pk))

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Unfold asks with the id of the campaign whose button it is."""
        allowed: bool = super().has_add_permission(request)
        return allowed

    @action(description=_("Results"), icon="monitoring", permissions=["results"])
    def results(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The issue curve and the revenue, which a page of all apps shows."""
        return redirect("campaign-results", campaign_id=self._campaign(request, object_id).pk)

    def has_results_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """What the page of results asks for, which is a page of all apps."""
        return request.user.has_perms(["coupons.view_campaign", "coupons.view_coupon", "orders.view_order"])

    @action(description=_("Export coupons"), icon="download", permissions=["export_coupons"])
    def export_coupons(self, request: HttpRequest, object_id: str) -> HttpResponse:
        campaign = self._campaign(request, object_id)
        page = reverse("export-list", args=["coupons", "coupon"])
        return HttpResponseRedirect(f"{page}?campaign__id__exact={campaign.pk}")

    def has_export_coupons_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perms(["coupons.view_coupon", "shop.export_list"])

    def _campaign(self, request: HttpRequest, object_id: str) -> Campaign:
        """The campaign whose button was pressed. Raises `Http404`."""
        campaign: Campaign | None = self.get_object(request, object_id)
        if campaign is None:
            raise Http404(f"There is no campaign {object_id}.")
        return campaign


def _scheduled_text(campaign: Campaign) -> str:
    """When the campaign opens and closes."""
    values = {"name": campaign.name, "opens_at": f"{campaign.opens_at:%Y-%m-%d %H:%M:%S}"}
    if campaign.closes_at is None:
        return gettext("%(name)s opens at %(opens_at)s and stays open (UTC).") % values
    closing = {"closes_at": f"{campaign.closes_at:%Y-%m-%d %H:%M:%S}"}
    return gettext("%(name)s opens at %(opens_at)s and closes at %(closes_at)s (UTC).") % (values | closing)
