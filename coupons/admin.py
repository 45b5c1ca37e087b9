"""Admin pages: campaigns with their pools, and coupons, which can be voided."""

import re
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.paginator import InfinitePaginator
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from coupons import admin_uploads, campaigns, codes, issued_coupons, partners, pausing, pool
from coupons.campaign_templates import TEMPLATES
from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation, Coupon, PoolCode, QueueTicket
from shop import clock
from shop.admin_site import NonAtomicAdmin, ReadOnlyMixin
from shop.errors import FirstcomeError
from shop.operators.pausing import PausingMixin

MOST_CODES_AT_ONCE = 100_000
TO_THE_SECOND = "%Y-%m-%dT%H:%M:%S"
COLOURS = {
    "scheduled": "info",
    "open": "success",
    "issued": "success",
    "available": "success",
    "sold_out": "warning",
    "paused": "danger",
    "held": "warning",
    "waiting": "info",
    "void": "danger",
    "failed": "danger",
}


class CampaignForm(forms.ModelForm):
    strategy = forms.ChoiceField(initial="group_commit", widget=UnfoldAdminSelectWidget)
    partner = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Campaign
        fields = [
            "name",
            "strategy",
            "quantity",
            "opens_at",
            "closes_at",
            "code_source",
            "partner",
            "discount_type",
            "discount_value",
            "min_order_amount",
            "max_discount_amount",
            "coupon_valid_for_days",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The campaign's own strategy stays a choice, even if it is not available to others.
        usable = dict.fromkeys([*issuing.available_strategies(), self.instance.strategy])
        self.fields["strategy"].choices = [(name, name) for name in usable]  # type: ignore[attr-defined]
        # Once a coupon is issued the partner is read-only, and not a field of the form.
        if "partner" in self.fields:
            confirming = dict.fromkeys(["", self.instance.partner, *partners.configured()])
            self.fields["partner"].choices = [(name, name or "none") for name in confirming]  # type: ignore[attr-defined]


class AddCodesForm(BaseDialogForm):
    codes = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text="One per line; codes that exist already are skipped.",
    )
    count = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_CODES_AT_ONCE,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Or how many codes to generate.",
    )

    def clean_codes(self) -> list[str]:
        given: list[str] = self.cleaned_data["codes"].split()
        wrong = [code for code in given if not re.match(codes.GIVEN_PATTERN, code)]
        if wrong:
            raise forms.ValidationError(f"Not usable as codes: {', '.join(wrong[:10])}.")
        return given

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if not self.errors and bool(data["codes"]) == bool(data["count"]):
            raise forms.ValidationError("Enter either codes or how many to generate.")
        return data


class InstantInput(UnfoldAdminTextInputWidget):
    """The browser's own control for a date and a time, which is to the second."""

    supports_microseconds = False

    def __init__(self) -> None:
        super().__init__(attrs={"type": "datetime-local", "step": "1"})

    def format_value(self, value: Any) -> str | None:
        if isinstance(value, datetime):
            return value.strftime(TO_THE_SECOND)
        shown: str | None = super().format_value(value)
        return shown


def instant_field(*, help_text: str, required: bool = True) -> forms.DateTimeField:
    """A date and time in UTC."""
    return forms.DateTimeField(
        required=required,
        input_formats=[TO_THE_SECOND, "%Y-%m-%dT%H:%M"],
        widget=InstantInput,
        help_text=help_text,
    )


class ScheduleForm(BaseDialogForm):
    """When a campaign opens and closes; a field that is left as it is changes nothing."""

    opens_at = instant_field(help_text="UTC. It can't change once the campaign has opened.")
    closes_at = instant_field(required=False, help_text="UTC. Empty: it stays open until it is sold out.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.campaign = Campaign.objects.filter(pk=self.object_id).first()
        if self.campaign:
            for name in ("opens_at", "closes_at"):
                self.initial[name] = getattr(self.campaign, name)

    def times(self) -> dict[str, Any]:
        """The times as they are entered; one that was left as it is keeps its microseconds."""
        return {
            name: self.cleaned_data[name] if name in self.changed_data else getattr(self.campaign, name)
            for name in ("opens_at", "closes_at")
        }


class DuplicateForm(BaseDialogForm):
    name = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)
    opens_at = instant_field(help_text="UTC, in the future.")
    closes_at = instant_field(required=False, help_text="UTC. Empty: it stays open until it is sold out.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        original = Campaign.objects.filter(pk=self.object_id).first()
        if original:
            self.initial["name"] = f"{original.name[:240]} (copy)"


class VoidForm(BaseDialogForm):
    reason = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)


@admin.register(Campaign)
class CampaignAdmin(PausingMixin, ModelAdmin, NonAtomicAdmin):
    form = CampaignForm
    list_display = ["id", "name", "shown_status", "strategy", "quantity", "issued", "remaining", "opens_at"]
    list_filter = ["strategy", "code_source", "opens_at"]
    search_fields = ["name"]
    ordering = ["-id"]
    readonly_fields = [
        "shown_status",
        "paused_at",
        "issued",
        "confirming",
        "remaining",
        "codes_added",
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
        {"title": "Codes", "icon": "list", "items": ["add_codes", "upload_codes", "export_coupons"]},
    ]
    change_form_before_template = "coupons/campaign_templates.html"
    templates = TEMPLATES

    def get_urls(self) -> list[URLPattern]:
        pages = {"check": admin_uploads.check_piece, "add": admin_uploads.add_piece}
        uploads = [
            path(
                f"<int:campaign_id>/upload_codes/{step}/",
                self.admin_site.admin_view(page),
                name=f"coupons_campaign_{step}_piece",
            )
            for step, page in pages.items()
        ]
        urls: list[URLPattern] = super().get_urls()
        return [*uploads, *urls]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The terms of the template that the address names."""
        template = TEMPLATES.get(request.GET.get("template", ""))
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return initial | (dict(template.terms) if template else {})

    @display(description="status", label=COLOURS)
    def shown_status(self, campaign: Campaign) -> str:
        return "-" if campaign.pk is None else str(campaign.status_at(clock.now()))

    @admin.display(description="remaining")
    def remaining(self, campaign: Campaign) -> int | str:
        return "-" if campaign.pk is None else campaign.remaining

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[str]:
        fixed = campaigns.FIXED_ONCE_ISSUED if obj and obj.issued + obj.confirming else ()
        return [*self.readonly_fields, *fixed]

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        """Write only the fields that were changed here: the page's copy of `issued` may be out of date."""
        names = form.changed_data if change else CampaignForm.Meta.fields
        terms = {name: form.cleaned_data[name] for name in names}
        if change:
            campaigns.change(campaign_id=obj.pk, **terms)
        else:
            obj.pk = campaigns.create(**terms).pk

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Campaign:
        change = pausing.pause if is_paused else pausing.resume
        return change(campaign_id=row_id, reason=reason)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response: HttpResponse = super().changeform_view(request, *args, **kwargs)
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return response

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Never: campaigns are closed instead, because their coupons refer to them."""
        return False

    def has_add_codes_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A method, because unfold looks a codename up in the database, which is empty before `migrate`."""
        return request.user.has_perm("coupons.add_poolcode")

    @action(
        description="Add codes",
        icon="add",
        permissions=["add_codes"],
        dialog={
            "title": "Add codes to the pool",
            "description": "For campaigns whose codes come from a pool.",
            "form_class": AddCodesForm,
            "form_submit_text": "Add",
        },
    )
    def add_codes(self, request: HttpRequest, form: AddCodesForm, object_id: str) -> HttpResponse:
        data = form.cleaned_data
        try:
            added = _add_codes(int(object_id), data["codes"], data["count"])
            self.message_user(
                request, f"{added.added} added, {len(added.skipped)} skipped, {added.total} in all."
            )
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        return _reload("admin:coupons_campaign_change", object_id)

    @action(description="Upload codes", icon="upload_file", permissions=["add_codes"])
    def upload_codes(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return admin_uploads.upload_page(request, self.admin_site, self._campaign(request, object_id).pk)

    @action(
        description="Schedule",
        icon="schedule",
        permissions=["change"],
        dialog={
            "title": "Schedule this campaign",
            "description": "When it opens and closes. All times are UTC.",
            "form_class": ScheduleForm,
            "form_submit_text": "Schedule",
        },
    )
    def schedule(self, request: HttpRequest, form: ScheduleForm, object_id: str) -> HttpResponse:
        campaign = self._campaign(request, object_id)
        try:
            changed = campaigns.schedule(campaign_id=campaign.pk, **form.times())
            closing = (
                f"closes at {changed.closes_at:%Y-%m-%d %H:%M:%S}" if changed.closes_at else "stays open"
            )
            opening = f"{changed.name} opens at {changed.opens_at:%Y-%m-%d %H:%M:%S}"
            self.message_user(request, f"{opening} and {closing} (UTC).")
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        return _reload("admin:coupons_campaign_change", object_id)

    @action(
        description="Duplicate",
        icon="content_copy",
        permissions=["add"],
        dialog={
            "title": "Duplicate this campaign",
            "description": "The same terms under a new name, scheduled, without codes and coupons.",
            "form_class": DuplicateForm,
            "form_submit_text": "Duplicate",
        },
    )
    def duplicate(self, request: HttpRequest, form: DuplicateForm, object_id: str) -> HttpResponse:
        campaign = self._campaign(request, object_id)
        terms = {name: form.cleaned_data[name] for name in ("name", "opens_at", "closes_at")}
        try:
            copy = campaigns.duplicate(campaign_id=campaign.pk, **terms)
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
            return _reload("admin:coupons_campaign_change", object_id)
        self.message_user(
            request, f"This is the copy, {copy.name}; it opens at {copy.opens_at:%Y-%m-%d %H:%M} UTC."
        )
        return _reload("admin:coupons_campaign_change", str(copy.pk))

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Unfold asks with the id of the campaign whose button it is."""
        allowed: bool = super().has_add_permission(request)
        return allowed

    @action(description="Results", icon="monitoring", permissions=["view"])
    def results(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The issue curve and the revenue, which a page of all apps shows."""
        return redirect("campaign-results", campaign_id=self._campaign(request, object_id).pk)

    @action(description="Export coupons", icon="download", permissions=["export_coupons"])
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


@admin.register(Coupon)
class CouponAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["code", "campaign", "account", "position", "shown_status", "issued_at", "expires_at"]
    list_select_related = ["campaign", "account"]
    list_filter = ["status", "issued_at"]
    linked_lookups = ["account__id__exact", "campaign__id__exact"]
    search_fields = ["=code", "=account__username"]
    ordering = ["-id"]
    # Counting millions of rows takes seconds, so the pages have no total, only next and previous.
    paginator = InfinitePaginator
    show_full_result_count = False
    actions_detail = ["void"]

    @display(description="status", label=COLOURS)
    def shown_status(self, coupon: Coupon) -> str:
        return coupon.status_at(clock.now())

    def has_void_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A method, because unfold looks a codename up in the database, which is empty before `migrate`."""
        return request.user.has_perm("coupons.change_coupon")

    @action(
        description="Make void",
        icon="block",
        permissions=["void"],
        dialog={
            "title": "Make this coupon void",
            "description": "It can't be undone: its owner can't have another of this campaign.",
            "form_class": VoidForm,
            "form_submit_text": "Make void",
        },
    )
    def void(self, request: HttpRequest, form: VoidForm, object_id: str) -> HttpResponse:
        coupon = self.get_object(request, object_id)
        try:
            reason = form.cleaned_data["reason"]
            voided = issued_coupons.void(code=str(coupon), reason=reason)
            self.log_change(request, voided, f"Made void: {reason}")
            self.message_user(request, f"Coupon {voided.code} is void.")
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        return _reload("admin:coupons_coupon_change", object_id)


@admin.register(PoolCode)
class PoolCodeAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["code", "campaign", "shown_status", "added_at"]
    list_select_related = ["campaign"]
    list_filter = ["status", "added_at"]
    search_fields = ["=code"]
    ordering = ["-id"]
    paginator = InfinitePaginator
    show_full_result_count = False

    @display(description="status", label=COLOURS)
    def shown_status(self, code: PoolCode) -> str:
        return code.status


@admin.register(QueueTicket)
class QueueTicketAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["id", "campaign", "account", "number", "shown_status", "coupon", "created_at"]
    list_select_related = ["campaign", "account", "coupon"]
    list_filter = ["status", "created_at"]
    linked_lookups = ["account__id__exact"]
    search_fields = ["=id", "=account__username"]
    ordering = ["-id"]
    paginator = InfinitePaginator
    show_full_result_count = False

    @display(description="status", label=COLOURS)
    def shown_status(self, ticket: QueueTicket) -> str:
        return ticket.status


@admin.register(Confirmation)
class ConfirmationAdmin(ReadOnlyMixin, ModelAdmin):
    """Slots that a partner has not confirmed yet; they are settled automatically."""

    list_display = ["key", "campaign", "partner", "account", "code", "taken_at", "attempts", "is_cancelled"]
    list_select_related = ["campaign", "account"]
    list_filter = ["is_cancelled", "taken_at"]
    search_fields = ["=key", "=code", "=account__username"]
    ordering = ["pk"]
    paginator = InfinitePaginator
    show_full_result_count = False

    @admin.display(description="partner")
    def partner(self, confirmation: Confirmation) -> str:
        return confirmation.campaign.partner


def _add_codes(campaign_id: int, given: list[str], count: int | None) -> pool.AddedCodes:
    if count is not None:
        return pool.generate(campaign_id=campaign_id, count=count)
    return pool.add(campaign_id=campaign_id, codes=given)


def _reload(view: str, object_id: str) -> HttpResponse:
    """Have the browser load the whole page again, because the dialog is only a fragment of it."""
    return HttpResponse(headers={"HX-Redirect": reverse(view, args=[object_id])})
