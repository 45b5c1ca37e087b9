"""The operators' page that adds codes to a campaign's pool, entered or generated ones, after a question."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget

from coupons import codes, pool
from coupons.eligible_accounts import ListedAccounts
from coupons.models import Campaign
from coupons.pool import AddedCodes
from shop import form_fields
from shop.http import json_format
from shop.idempotency.recorded_answers import Answer, KeyedCall
from shop.operators import actions
from shop.operators.actions import Action, ActionForm, ActionPreview
from shop.operators.forms import keyed_call

MOST_CODES_AT_ONCE = 100_000


class AddCodesForm(ActionForm):
    codes = forms.CharField(
        label=_("Codes"),
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=_("One per line; codes that exist already are skipped."),
    )
    count = form_fields.WholeNumberField(
        label=_("Count"),
        required=False,
        min_value=1,
        max_value=MOST_CODES_AT_ONCE,
        help_text=_("Or how many codes to generate."),
    )
    field_order = ["codes", "count", "reason"]

    def clean_codes(self) -> list[str]:
        given: list[str] = self.cleaned_data["codes"].split()
        wrong = [code for code in given if not re.match(codes.GIVEN_PATTERN, code)]
        if wrong:
            raise forms.ValidationError(
                gettext("Not usable as codes: %(codes)s.") % {"codes": ", ".join(wrong[:10])}
            )
        return given

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if not self.errors and bool(data["codes"]) == bool(data["count"]):
            raise forms.ValidationError(gettext("Enter either codes or how many to generate."))
        return data


def add_codes(request: HttpRequest, campaign: Campaign) -> Action:
    """The action that adds codes to the pool of this campaign."""
    return Action(
        title=gettext("Add codes to the pool of %(name)s") % {"name": campaign.name},
        description=gettext("For campaigns whose codes come from a pool."),
        submit=gettext("Add"),
        form_class=AddCodesForm,
        preview=partial(_preview, campaign),
        perform=partial(_perform, request, campaign.pk),
        report=added_text,
        back=actions.page_of(campaign),
    )


def added_text(added: AddedCodes | ListedAccounts) -> str:
    """How many were added, for the operator."""
    counts = {"added": added.added, "skipped": len(added.skipped), "total": added.total}
    return gettext("%(added)s added, %(skipped)s skipped, %(total)s in all.") % counts


def _preview(campaign: Campaign, data: Mapping[str, Any]) -> ActionPreview:
    count = data["count"]
    if count:
        question = ngettext("Generate %(count)s code?", "Generate %(count)s codes?", count)
    else:
        count = len(data["codes"])
        question = ngettext("Add %(count)s code?", "Add %(count)s codes?", count)
    facts = [(gettext("Campaign"), campaign.name)]
    if campaign.code_source == Campaign.CodeSource.POOL:
        facts.append((gettext("Quantity"), f"{campaign.quantity:,}"))
    facts.append((gettext("Codes that the pool has had in all"), f"{campaign.codes_added:,}"))
    warning = gettext("Codes can't be taken out of the pool again.")
    return ActionPreview(question % {"count": f"{count:,}"}, facts=facts, warning=warning)


def _perform(request: HttpRequest, campaign_id: int, data: Mapping[str, Any]) -> AddedCodes:
    """Add the entered codes, which are skipped if they exist, or generate codes once for the form."""
    if not data["count"]:
        return pool.add(campaign_id=campaign_id, codes=data["codes"], reason=data["reason"])
    return pool.generate(
        campaign_id=campaign_id,
        count=data["count"],
        keyed=partial(_keyed_chunk, request, campaign_id, data),
        reason=data["reason"],
    )


def _keyed_chunk(request: HttpRequest, campaign_id: int, data: Mapping[str, Any], number: int) -> KeyedCall:
    """The chunk of this number of the form's codes, as a keyed call."""
    return keyed_call(
        request,
        f"generate codes {number}",
        data["form_id"],
        (campaign_id, data["count"]),
        answer=lambda made: Answer(200, json_format.dump({"made": made})),
    )
