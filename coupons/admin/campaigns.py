"""Admin pages of campaigns: their forms and templates, schedule, pools and lists of accounts; and of coupons,
which can be voided, pool codes, queue tickets and pending confirmations.
"""

from functools import partial
from operator import attrgetter
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.html import format_html_join
from django.utils.translation import gettext, gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from accounts.operating import row_checks
from accounts.operating.pausing_admin import PausableAdmin, Template
from accounts.operating.row_checks import Check
from coupons import campaigns, issuing, partners
from coupons.admin import adding
from coupons.campaigns import Terms
from coupons.codes import eligible_accounts
from coupons.models import LONGEST_CODE, Campaign, Confirmation, Coupon, PoolCode, QueueTicket
from foundation import clock, form_fields
from foundation.admin_base.actions import Action, ActionForm, FormData, button, calling, create_once
from foundation.admin_base.classes import REASON
from foundation.admin_base.display import Context, status_label, zoned_text
from foundation.admin_base.forms import EditForm, TermsForm
from foundation.admin_base.lists import RecordsAdmin, column
from foundation.admin_base.status_words import status_word
from foundation.http.validation import LARGEST_AMOUNT
from foundation.lazy_texts import Text
from foundation.money import format_amount, minor_unit_help
from inventory.models import Product


def _unit(text: Text) -> Text:
    """The text, and in which unit amounts are entered."""
    return lazy(lambda: f"{text} {minor_unit_help()}", str)()


STAYS_OPEN = _("Leave it empty to stay open until all coupons are issued.")


STRATEGIES = {
    "group_commit": _("right for nearly every campaign: fast, also in a rush"),
    "queue": _("buyers wait in a queue, and get coupons in the order of arrival"),
    "code_pool": _("each buyer gets the next code of the pool"),
    "redis_gate": _("for the largest rush: late buyers are turned away at once"),
    "conditional_update": _("for a moderate rush: buyers are served one after the other"),
    "pessimistic": _("simple, and slow in a rush"),
    "optimistic": _("tries again if another buyer was faster; slow in a rush"),
    "spin_lock": _("buyers take turns, in any order"),
    "fair_lock": _("buyers take turns, in the order of arrival"),
    "unsafe": _("issues too many: only for demonstrations"),
}
"""What each does, in a line."""


CODE_SOURCES = {
    "generated": _("made by the shop, another one for each coupon"),
    "pool": _("from a list that you upload"),
    "shared": _("one code for all buyers"),
}


class CampaignForm(TermsForm):
    strategy = forms.ChoiceField(label=_("Strategy"), initial="group_commit", widget=UnfoldAdminSelectWidget)
    partner = forms.ChoiceField(label=_("Partner"), required=False, widget=UnfoldAdminSelectWidget)
    products = forms.CharField(
        label=_("Products"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_(
            "SKUs, one in each line. Only these products get the discount. Leave it empty for all products."
        ),
    )

    class Meta:
        model = Campaign
        fields = [*campaigns.TERMS]
        labels = {
            "code_source": _("Where codes come from"),
            "discount_value": _("Discount"),
            "min_order_amount": _("Smallest order"),
            "max_discount_amount": _("Largest discount of an order"),
            "coupon_valid_for_days": _("Days that a coupon is valid"),
            "first_order_only": _("For first orders only"),
            "eligible": _("Who gets a coupon"),
        }
        help_texts = {
            "quantity": _("Leave it empty for everybody: each account gets one coupon."),
            "min_order_amount": _unit(_("An order of less gets no discount.")),
            "max_discount_amount": _unit(_("Leave it empty for no limit.")),
            "shared_code": _("The code that all buyers enter."),
            "first_order_only": _("Only buyers without an open or paid order may use it."),
            "eligible": _("Coupons that were issued can still be used."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "products" in self.fields:
            self.initial["products"] = "\n".join(campaigns.skus(self.instance.product_ids))
        if "code_source" in self.fields:
            self.fields["code_source"].choices = [*CODE_SOURCES.items()]  # type: ignore[attr-defined]
            if self["code_source"].value() == "pool" and (quantity := self.fields.get("quantity")):
                quantity.required = True
                quantity.help_text = gettext(
                    "How many of the codes buyers may get at most. You upload the codes after you save."
                )
        if "discount_value" in self.fields:
            text = "<span x-show=\"discount_type {}= 'amount'\">{}</span>"
            units = [("!", gettext("In percent.")), ("=", minor_unit_help())]
            help_text = format_html_join(" ", text, units)
            self.fields["discount_value"].help_text = help_text
        # The campaign's own strategy stays a choice, even if it is not available to others.
        usable = dict.fromkeys([*issuing.available_strategies(), self.instance.strategy])
        self.fields["strategy"].choices = [  # type: ignore[attr-defined]
            (name, f"{status_word(name)}: {STRATEGIES[name]}" if name in STRATEGIES else name)
            for name in usable
        ]
        # Once a coupon is issued the partner is read-only, and not a field of the form.
        if "partner" in self.fields:
            confirming = dict.fromkeys(["", self.instance.partner, *partners.configured()])
            self.fields["partner"].choices = [(name, name or gettext("none")) for name in confirming]  # type: ignore[attr-defined]

    def clean_products(self) -> list[int]:
        wanted = self.cleaned_data["products"].split()
        found = dict(Product.objects.filter(sku__in=wanted).values_list("sku", "pk"))
        unknown = [sku for sku in wanted if sku not in found]
        if unknown:
            text = gettext("No product has the SKU %(skus)s. Correct it, or create the product first.")
            raise forms.ValidationError(text % {"skus": ", ".join(unknown[:10])})
        return sorted(set(found.values()))


class ScheduleForm(EditForm, ActionForm):
    """When a campaign opens and closes; a field that is left as it is changes nothing."""

    opens_at = form_fields.InstantField(
        label=_("Opens at"), help_text=_("It can't change once the campaign has opened.")
    )
    closes_at = form_fields.InstantField(label=_("Closes at"), help_text=STAYS_OPEN, required=False)

    def __init__(self, campaign: Campaign, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.campaign = campaign
        for name in ("opens_at", "closes_at"):
            self.initial[name] = getattr(campaign, name)
        self.carry_initial()

    def clean(self) -> FormData:
        """The times as they are entered; one that was left as it is keeps its microseconds."""
        data: FormData = super().clean() or {}
        kept = {"opens_at", "closes_at"} - set(self.changed_data)
        return data | {name: getattr(self.campaign, name) for name in kept}


class RaiseForm(ActionForm):
    quantity = form_fields.WholeNumberField(label=_("New quantity"), min_value=1, max_value=LARGEST_AMOUNT)


class DuplicateForm(ActionForm):
    name = forms.CharField(label=_("Name"), max_length=255, widget=UnfoldAdminTextInputWidget)
    opens_at = form_fields.InstantField(label=_("Opens at"), help_text=_("A time in the future."))
    closes_at = form_fields.InstantField(label=_("Closes at"), help_text=STAYS_OPEN, required=False)
    shared_code = forms.CharField(
        label=_("Shared code"),
        required=False,
        max_length=LONGEST_CODE,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("If this campaign has a shared code: another code for the copy."),
    )


TEMPLATES = {
    "percent": Template(
        _("Percent off"),
        _("Ten percent off each order, up to a fixed amount."),
        lambda: Terms(discount_type="percent", discount_value=10, max_discount_amount=10_000, quantity=1_000),
    ),
    "amount": Template(
        _("Amount off"),
        _("A fixed amount off orders that reach a minimum."),
        lambda: Terms(discount_type="amount", discount_value=5_000, min_order_amount=30_000, quantity=1_000),
    ),
    "drop": Template(
        _("Drop with a queue"),
        _(
            "For many buyers at the same moment. They wait in a queue, and get coupons in the order of "
            "arrival."
        ),
        lambda: Terms(
            strategy="queue",
            discount_type="percent",
            discount_value=30,
            max_discount_amount=30_000,
            quantity=100,
            coupon_valid_for_days=7,
        ),
    ),
    "pool": Template(
        _("Codes of a partner"),
        _("Codes that were printed or sold elsewhere. You upload them as a file."),
        lambda: Terms(code_source="pool", discount_type="amount", discount_value=5_000),
    ),
}


ADD_CODES = ["coupons.add_poolcode"]
LIST_ACCOUNTS = ["coupons.add_eligibleaccount"]
SHOWN_PRODUCTS = "shown_products"


def _has_pool(request: HttpRequest, campaign: Campaign) -> bool:
    return campaign.code_source == Campaign.CodeSource.POOL


def _has_list(request: HttpRequest, campaign: Campaign) -> bool:
    return campaign.eligible == Campaign.Eligible.LISTED


def discount_text(campaign: Campaign) -> str:
    """What a coupon of the campaign is worth, as in "10 % off, at most 5,000 KRW · from 30,000 KRW"."""
    most, least = campaign.max_discount_amount, campaign.min_order_amount
    if campaign.discount_type == Campaign.DiscountType.AMOUNT:
        text = gettext("%(amount)s off") % {"amount": format_amount(campaign.discount_value)}
    else:
        text = gettext("%(percent)s %% off") % {"percent": campaign.discount_value}
        if most is not None:
            text = gettext("%(discount)s, at most %(most)s") % {"discount": text, "most": format_amount(most)}
    return text + (" · " + gettext("from %(amount)s") % {"amount": format_amount(least)} if least else "")


@admin.register(Campaign)
class CampaignAdmin(PausableAdmin):
    form = CampaignForm
    domain = campaigns
    list_display = ["name", "discount", "shown_status", "quantity", "issued", "left_figure"]
    list_display += ["opens_at", "closes_at"]
    exported = ["name", "shown_status", "strategy", "quantity", "issued", "remaining", "opens_at"]
    list_filter = ["code_source", "opens_at"]
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
    actions_detail = [
        "pause",
        "resume",
        "explain",
        "results",
        "schedule",
        "duplicate",
        "raise_quantity",
        "add_codes",
        "upload_codes",
        "export_coupons",
        "list_accounts",
        "upload_accounts",
    ]
    conditional_fields = {
        "shared_code": "typeof code_source == 'undefined' || code_source == 'shared'",
        "max_discount_amount": "typeof discount_type == 'undefined' || discount_type != 'amount'",
    }
    templates = TEMPLATES
    meanings = {
        "scheduled": _("Nobody gets a coupon until it opens."),
        "awaiting_codes": _("It is open but has no codes. Nobody gets a coupon until you add some."),
        "open": _("Buyers get coupons now."),
        "sold_out": _("No coupon is left. To go on, raise the quantity or add codes."),
        "closed": _("It is over. Coupons that were issued can be used until they expire."),
    }
    open_parts = {
        _("Codes"): ["code_source", "shared_code", "coupon_valid_for_days"],
        _("Discount"): ["discount_type", "discount_value", "min_order_amount", "max_discount_amount"],
    }
    parts = {
        _("Who gets a coupon, and for what"): ["products", SHOWN_PRODUCTS, "eligible", "first_order_only"],
        _("How coupons are given out"): ["strategy", "partner"],
        _("Figures"): readonly_fields,
    }

    def checks(self, row: Campaign) -> list[Check]:
        found = [row_checks.opening(row.opens_at, fix="schedule")]
        wanted = f"{row.quantity or 0:,}"
        if row.code_source == Campaign.CodeSource.POOL:
            text = gettext("Codes: %(count)s. Coupons to issue: %(quantity)s")
            is_enough = row.codes_added >= (row.quantity or 1)
            shown = {"count": f"{row.codes_added:,}", "quantity": wanted if row.quantity else "∞"}
            found.append(Check(is_enough, text % shown, "upload_codes"))
        if row.eligible == Campaign.Eligible.LISTED:
            number = eligible_accounts.count(row.pk)
            text = gettext("Accounts on the list: %(count)s. No other account gets a coupon")
            found.append(Check(number > 0, text % {"count": f"{number:,}"}, "list_accounts"))
        text = gettext("Coupons to issue: %(count)s, one for each account") % {"count": wanted}
        if row.quantity is None:
            text = gettext("No limit: every account gets one coupon")
        found.append(Check(row.quantity is not None, text, field="quantity"))
        if row.discount_type == Campaign.DiscountType.PERCENT:
            is_limited = row.max_discount_amount is not None
            text = discount_text(row) if is_limited else gettext("The discount has no limit")
            found.append(Check(is_limited, text, field="max_discount_amount"))
        return [*found, row_checks.gateway()]

    left_figure = column(
        _("left"),
        lambda campaign: gettext("no limit") if campaign.remaining is None else f"{campaign.remaining:,}",
    )
    discount = column(_("discount"), discount_text)
    remaining = column(_("remaining"), attrgetter("remaining"))
    # In the place of the form's field, where they can't be changed.
    shown_products = column(
        _("products"), lambda campaign: ", ".join(campaigns.skus(campaign.product_ids)) or "-"
    )

    listed_accounts = column(_("accounts on the list"), lambda campaign: eligible_accounts.count(campaign.pk))

    def get_fields(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        fields = super().get_fields(request, obj)
        if obj and obj.issued + obj.confirming and obj.code_source != Campaign.CodeSource.SHARED:
            fields = [name for name in fields if name != "shared_code"]
        if obj and (obj.issued + obj.confirming > 0 or not self.has_change_permission(request, obj)):
            return [SHOWN_PRODUCTS if name == "products" else name for name in fields]
        return fields

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[str]:
        fixed = campaigns.FIXED_ONCE_ISSUED if obj and obj.issued + obj.confirming else ()
        of_columns = [name for name in fixed if name != "products"]
        return [*self.readonly_fields, SHOWN_PRODUCTS, *of_columns]

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "shared_code" in form.changed_data:
            self._warn_of_short_code(request, form.cleaned_data["shared_code"])

    def response_post_save_add(self, request: HttpRequest, obj: Campaign) -> HttpResponseRedirect:
        """Codes of a partner are uploaded next."""
        if obj.code_source == Campaign.CodeSource.POOL and request.user.has_perms(ADD_CODES):
            return redirect("admin:coupons_campaign_upload_codes", obj.pk)
        return super().response_post_save_add(request, obj)

    def _warn_of_short_code(self, request: HttpRequest, shared_code: str | None) -> None:
        if shared_code and len(shared_code) < campaigns.SAFE_LENGTH:
            text = gettext("The shared code is easy to guess: it has fewer than %(length)s characters.")
            messages.warning(request, text % {"length": campaigns.SAFE_LENGTH})

    def left_text(self, row: Campaign) -> str:
        if row.remaining is None:
            return gettext("%(count)s issued, for everybody") % {"count": f"{row.issued:,}"}
        return gettext("%(count)s left") % {"count": f"{row.remaining:,}"}

    def head(self, request: HttpRequest, row: Campaign) -> Context:
        return super().head(request, row) | {"worth": discount_text(row)}

    def pausing_note(self, row: Campaign) -> str:
        return campaigns.partner_note(row)

    @button(
        description=_("Raise the quantity"),
        icon="trending_up",
        permissions=["change"],
        is_useful=lambda request, row: row.quantity is not None and row.status_at(clock.now()) != "closed",
    )
    def raise_quantity(self, request: HttpRequest, campaign: Campaign) -> Action:
        return Action(
            title=gettext("Raise the quantity of %(name)s") % {"name": campaign.name},
            description=_("Also while it issues coupons."),
            submit=_("Raise"),
            form_class=RaiseForm,
            initial={"quantity": campaign.quantity},
            perform=calling(campaigns.raise_quantity, campaign_id=campaign.pk),
            report=self.left_text,
        )

    @button(description=_("Add codes"), icon="add", permissions=ADD_CODES, is_useful=_has_pool)
    def add_codes(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.add_codes(request, campaign)

    @button(description=_("Upload codes"), icon="upload_file", permissions=ADD_CODES, is_useful=_has_pool)
    def upload_codes(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.upload(campaign, adding.Codes)

    @button(
        description=_("Change the list of accounts"),
        icon="group_add",
        permissions=LIST_ACCOUNTS,
        is_useful=_has_list,
    )
    def list_accounts(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.change_list(request, campaign)

    @button(
        description=_("Upload accounts"), icon="upload_file", permissions=LIST_ACCOUNTS, is_useful=_has_list
    )
    def upload_accounts(self, request: HttpRequest, campaign: Campaign) -> Action:
        return adding.upload(campaign, adding.Accounts)

    @button(description=_("Change dates"), icon="schedule", permissions=["change"])
    def schedule(self, request: HttpRequest, campaign: Campaign) -> Action:
        return Action(
            title=_("Change the dates of this campaign"),
            description=_("When it opens and closes."),
            submit=_("Change the dates"),
            form_class=partial(ScheduleForm, campaign),
            perform=calling(campaigns.schedule, campaign_id=campaign.pk),
            report=_scheduled_text,
        )

    @button(description=_("Duplicate"), icon="content_copy", permissions=["coupons.add_campaign"])
    def duplicate(self, request: HttpRequest, campaign: Campaign) -> Action:
        def perform(data: FormData) -> HttpResponse:
            terms = {name: data[name] for name in ("name", "opens_at", "closes_at", "shared_code")}
            copy = create_once(
                request,
                data["form_id"],
                "duplicate campaign",
                lambda: campaigns.duplicate(campaign_id=campaign.pk, **terms, reason=data[REASON]),
                meaning=(campaign.pk, terms),
            )
            self._warn_of_short_code(request, terms["shared_code"])
            text = gettext("%(name)s was created. It opens at %(at)s.")
            messages.info(request, text % {"name": terms["name"], "at": zoned_text(terms["opens_at"])})
            return redirect("admin:coupons_campaign_change", copy)

        return Action(
            title=_("Duplicate this campaign"),
            description=_("Makes a new campaign with the same terms. Codes and coupons are not copied."),
            submit=_("Create the copy"),
            form_class=DuplicateForm,
            initial={"name": gettext("%(name)s (copy)") % {"name": campaign.name[:240]}},
            perform=perform,
        )

    @button(
        description=_("Results"),
        icon="monitoring",
        permissions=["coupons.view_campaign", "coupons.view_coupon", "orders.view_order"],
    )
    def results(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """The issue curve and the revenue, which a page of all apps shows."""
        return redirect("campaign-results", campaign_id=campaign.pk)

    @button(
        description=_("Export coupons"),
        icon="download",
        permissions=["coupons.view_coupon", "shop.export_list"],
    )
    def export_coupons(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        page = reverse("export-list", args=["coupons", "coupon"])
        return redirect(f"{page}?campaign__id__exact={campaign.pk}")


def _scheduled_text(campaign: Campaign) -> str:
    """When the campaign opens and closes."""
    text = gettext("%(name)s opens at %(opens_at)s and closes at %(closes_at)s.")
    if campaign.closes_at is None:
        text = gettext("%(name)s opens at %(opens_at)s and stays open.")
    opens_at, closes_at = (at and zoned_text(at) for at in (campaign.opens_at, campaign.closes_at))
    return text % {"name": campaign.name, "opens_at": opens_at, "closes_at": closes_at}


@admin.register(Coupon)
class CouponAdmin(RecordsAdmin):
    subject_key = "code"
    list_display = ["code", "shown_status", "campaign", "account", "issued_at", "expires_at"]
    exported = ["code", "campaign", "account", "position", "shown_status", "issued_at", "expires_at"]
    list_prefetch_related = ["campaign", "account"]
    list_filter = ["status", "issued_at"]
    unindexed_filters = {"status__exact", "issued_at__gte", "issued_at__lt"}
    linked_lookups = ["account__id__exact", "campaign__id__exact"]
    search_fields = ["code", "account__username"]
    search_help_text = _("A coupon's code, or an account's name")
    actions_detail = ["void"]

    @button(description=_("Make void"), icon="block", permissions=["coupons.change_coupon"])
    def void(self, request: HttpRequest, coupon: Coupon) -> Action:
        def perform(data: FormData) -> str:
            voided = issuing.void(code=coupon.code, reason=data["reason"])
            self.log_change(request, voided, f"Made void: {data['reason']}")
            return gettext("Coupon %(code)s is void. The customer can't use it any more.") % {
                "code": voided.code
            }

        return Action(
            title=_("Make this coupon void"),
            description=_(
                "The customer can't use it any more, and gets no other coupon of this "
                "campaign. This can't be undone."
            ),
            submit=_("Make void"),
            keep=_("Keep the coupon"),
            perform=perform,
            is_dangerous=True,
        )


@admin.register(PoolCode)
class PoolCodeAdmin(RecordsAdmin):
    list_display = ["code", "campaign", "shown_status", "added_at"]
    list_prefetch_related = ["campaign"]
    list_filter = ["status", "added_at"]
    unindexed_filters = {"status__exact", "added_at__gte", "added_at__lt"}
    search_fields = ["code"]

    shown_status = column(_("status"), lambda code: status_label(code.status, word=code.get_status_display()))


@admin.register(QueueTicket)
class QueueTicketAdmin(RecordsAdmin):
    list_display = ["__str__", "shown_status", "campaign", "account", "coupon", "created_at"]
    exported = ["campaign", "account", "number", "shown_status", "coupon", "created_at"]
    list_prefetch_related = ["campaign", "account", "coupon"]
    list_filter = ["status", "created_at"]
    unindexed_filters = {"status__exact", "created_at__gte", "created_at__lt"}
    linked_lookups = ["account__id__exact"]
    search_fields = ["id", "account__username"]
    search_help_text = _("The id of a ticket, or an account's name")


@admin.register(Confirmation)
class ConfirmationAdmin(RecordsAdmin):
    """Slots that a partner has not confirmed yet; they are settled automatically."""

    list_display = ["code", "campaign", "partner", "account", "taken_at", "attempts", "is_cancelled"]
    exported = ["key", "campaign", "partner", "account", "code", "taken_at", "attempts", "is_cancelled"]
    list_prefetch_related = ["campaign", "account"]
    list_filter = ["is_cancelled", "taken_at"]
    search_fields = ["key", "code", "account__username"]
    search_help_text = _("A key, a code, or an account's name")
    ordering = ["pk"]

    partner = column(_("partner"), attrgetter("campaign.partner"))
