"""The forms of the admin's pages of campaigns, and templates: terms to begin with, by name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    INPUT_CLASSES,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from coupons import campaign_products, partners
from coupons.campaigns import Terms
from coupons.issuing import issuing
from coupons.models import LONGEST_CODE, Campaign
from shop import form_fields
from shop.operators.actions import ActionForm
from shop.operators.forms import ChangeForm, EditForm, FormIdField

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

STAYS_OPEN = _("UTC. Empty: it stays open until it is sold out.")


class CampaignForm(EditForm, ChangeForm):
    form_id = FormIdField()
    strategy = forms.ChoiceField(label=_("Strategy"), initial="group_commit", widget=UnfoldAdminSelectWidget)
    partner = forms.ChoiceField(label=_("Partner"), required=False, widget=UnfoldAdminSelectWidget)
    products = forms.CharField(
        label=_("Products"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_("SKUs, one per line: the discount counts over their lines. Empty: over all lines."),
    )

    class Meta:
        model = Campaign
        fields = [
            "name",
            "strategy",
            "quantity",
            "opens_at",
            "closes_at",
            "code_source",
            "shared_code",
            "partner",
            "discount_type",
            "discount_value",
            "min_order_amount",
            "max_discount_amount",
            "coupon_valid_for_days",
            "products",
            "first_order_only",
            "eligible",
        ]
        help_texts = {
            "shared_code": _("The one code that all buyers enter, if the code source is shared."),
            "first_order_only": _("Only for accounts without an open or paid order."),
            "eligible": _("Which accounts get a coupon; issued coupons stay usable."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            del self.fields["form_id"]
            if "products" in self.fields:
                self.initial["products"] = "\n".join(campaign_products.skus(self.instance.product_ids))
            self.carry_initial()
        # The campaign's own strategy stays a choice, even if it is not available to others.
        usable = dict.fromkeys([*issuing.available_strategies(), self.instance.strategy])
        self.fields["strategy"].choices = [(name, name) for name in usable]  # type: ignore[attr-defined]
        # Once a coupon is issued the partner is read-only, and not a field of the form.
        if "partner" in self.fields:
            confirming = dict.fromkeys(["", self.instance.partner, *partners.configured()])
            self.fields["partner"].choices = [(name, name or gettext("none")) for name in confirming]  # type: ignore[attr-defined]

    def clean_products(self) -> list[int]:
        wanted = self.cleaned_data["products"].split()
        found = campaign_products.ids_of_skus(wanted)
        unknown = [sku for sku in wanted if sku not in found]
        if unknown:
            text = gettext("There are no products %(skus)s.")
            raise forms.ValidationError(text % {"skus": ", ".join(unknown[:10])})
        return sorted(set(found.values()))


INSTANT_INPUT = forms.DateTimeInput(
    {"type": "datetime-local", "step": "1", "class": " ".join(INPUT_CLASSES)}, format="%Y-%m-%dT%H:%M:%S"
)
"""The browser's own control for a date and a time, which is to the second."""


class ScheduleForm(EditForm, ActionForm):
    """When a campaign opens and closes; a field that is left as it is changes nothing."""

    opens_at = form_fields.InstantField(
        label=_("Opens at"),
        widget=INSTANT_INPUT,
        help_text=_("UTC. It can't change once the campaign has opened."),
    )
    closes_at = form_fields.InstantField(
        label=_("Closes at"), widget=INSTANT_INPUT, help_text=STAYS_OPEN, required=False
    )
    field_order = ["opens_at", "closes_at", "reason"]

    def __init__(self, campaign: Campaign, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.campaign = campaign
        for name in ("opens_at", "closes_at"):
            self.initial[name] = getattr(campaign, name)
        self.carry_initial()

    def clean(self) -> dict[str, Any]:
        """The times as they are entered; one that was left as it is keeps its microseconds."""
        data: dict[str, Any] = super().clean() or {}
        kept = {"opens_at", "closes_at"} - set(self.changed_data)
        return data | {name: getattr(self.campaign, name) for name in kept}


class DuplicateForm(ActionForm):
    name = forms.CharField(label=_("Name"), max_length=255, widget=UnfoldAdminTextInputWidget)
    opens_at = form_fields.InstantField(
        label=_("Opens at"), widget=INSTANT_INPUT, help_text=_("UTC, in the future.")
    )
    closes_at = form_fields.InstantField(
        label=_("Closes at"), widget=INSTANT_INPUT, help_text=STAYS_OPEN, required=False
    )
    shared_code = forms.CharField(
        label=_("Shared code"),
        required=False,
        max_length=LONGEST_CODE,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Of a campaign with a shared code: the copy's own, because no two have the same."),
    )
    field_order = ["name", "opens_at", "closes_at", "shared_code", "reason"]


@dataclass(frozen=True, slots=True)
class Template:
    """Terms that the page of a new campaign is filled with; operators change them before they save."""

    title: "StrOrPromise"
    description: "StrOrPromise"
    terms: Terms


TEMPLATES = {
    "percent": Template(
        _("Percent off"),
        _("Ten percent off each order, up to a largest discount."),
        Terms(discount_type="percent", discount_value=10, max_discount_amount=10_000, quantity=1_000),
    ),
    "amount": Template(
        _("Amount off"),
        _("A fixed amount off orders that reach a minimum."),
        Terms(discount_type="amount", discount_value=5_000, min_order_amount=30_000, quantity=1_000),
    ),
    "drop": Template(
        _("Drop with a queue"),
        _("Many buyers in the same second: they get tickets, and coupons in the order of arrival."),
        Terms(
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
        _("Codes that were printed or sold elsewhere, uploaded as CSV."),
        Terms(code_source="pool", discount_type="amount", discount_value=5_000, quantity=1_000_000),
    ),
}
