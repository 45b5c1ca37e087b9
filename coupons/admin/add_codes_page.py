"""The operators' page that adds codes to a campaign's pool, entered or generated ones, after a question."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from coupons import codes, pool
from coupons.models import Campaign
from shop import form_fields
from shop.http import json_format
from shop.idempotency.recorded_answers import Answer, KeyedCall
from shop.operators import actions as operator_actions
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
        widget=UnfoldAdminIntegerFieldWidget,
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


def respond(request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Show the form or its confirmation, or add the codes to the pool of this campaign."""
    action = Action(
        title=gettext("Add codes to the pool of %(name)s") % {"name": campaign.name},
        description=gettext("For campaigns whose codes come from a pool."),
        submit=gettext("Add"),
        form_class=AddCodesForm,
        preview=partial(_preview, campaign.pk),
        perform=partial(_perform, request, campaign.pk),
        back=reverse("admin:coupons_campaign_change", args=[campaign.pk]),
    )
    return operator_actions.run(request, action)


def _preview(campaign_id: int, data: Mapping[str, Any]) -> ActionPreview:
    campaign, count = Campaign.objects.get(pk=campaign_id), data["count"]
    if count:
        question = ngettext("Generate %(count)s code?", "Generate %(count)s codes?", count)
    else:
        count = len(data["codes"])
        question = ngettext("Add %(count)s code?", "Add %(count)s codes?", count)
    facts = [(gettext("Campaign"), campaign.name)]
    if campaign.code_source == Campaign.CodeSource.POOL:
        facts.append((gettext("Quantity"), f"{campaign.quantity:,}"))
    return ActionPreview(
        question % {"count": f"{count:,}"},
        facts=[
            *facts,
            (gettext("Codes that the pool has had in all"), f"{campaign.codes_added:,}"),
            (gettext("Reason"), data["reason"]),
        ],
        warning=gettext("Codes can't be taken out of the pool again."),
    )


def _perform(request: HttpRequest, campaign_id: int, data: Mapping[str, Any]) -> str:
    """Add the entered codes, which are skipped if they exist, or generate codes once for the form."""
    if data["count"]:
        added = pool.generate(
            campaign_id=campaign_id,
            count=data["count"],
            keyed=partial(_keyed_chunk, request, campaign_id, data),
            reason=data["reason"],
        )
    else:
        added = pool.add(campaign_id=campaign_id, codes=data["codes"], reason=data["reason"])
    counts = {"added": added.added, "skipped": len(added.skipped), "total": added.total}
    return gettext("%(added)s added, %(skipped)s skipped, %(total)s in all.") % counts


def _keyed_chunk(request: HttpRequest, campaign_id: int, data: Mapping[str, Any], number: int) -> KeyedCall:
    """The chunk of this number of the form's codes, as a keyed call."""
    return keyed_call(
        request,
        f"generate codes {number}",
        data["form_id"],
        (campaign_id, data["count"]),
        answer=lambda made: Answer(200, json_format.dump({"made": made})),
    )
