"""The operators' page that adds accounts to a campaign's list, or removes them, after a question."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django import forms
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from coupons import eligible_accounts, line_files
from coupons.admin import add_codes_page
from coupons.models import Campaign
from shop.operators import actions
from shop.operators.actions import Action, ActionForm, ActionPreview

ADD, REMOVE = "add", "remove"
MOST_AT_ONCE = 10_000
SHOWN = 10


class ListedAccountsForm(ActionForm):
    change = forms.ChoiceField(
        label=_("Change"),
        choices=[(ADD, _("Add to the list")), (REMOVE, _("Remove from the list"))],
        widget=UnfoldAdminSelectWidget,
    )
    accounts = forms.CharField(
        label=_("Accounts"), widget=UnfoldAdminTextareaWidget, help_text=_("Their ids, one per line.")
    )
    field_order = ["change", "accounts", "reason"]

    def clean_accounts(self) -> list[int]:
        given = line_files.read(self.cleaned_data["accounts"].encode(), kind=line_files.ACCOUNTS)
        if given.errors:
            raise forms.ValidationError(given.errors[0].detail)
        ids = [int(text) for text in given.texts]
        if not 1 <= len(ids) <= MOST_AT_ONCE:
            raise forms.ValidationError(gettext("Enter 1 to %(most)s accounts.") % {"most": MOST_AT_ONCE})
        unknown = sorted(eligible_accounts.unknown(ids))
        if unknown:
            shown = ", ".join(map(str, unknown[:SHOWN]))
            raise forms.ValidationError(gettext("There are no accounts %(accounts)s.") % {"accounts": shown})
        return ids


def change_list(campaign: Campaign) -> Action:
    """The action that changes the list of this campaign."""
    return Action(
        title=gettext("Listed accounts of %(name)s") % {"name": campaign.name},
        description=gettext("A campaign for listed accounts issues coupons to these accounts alone."),
        submit=gettext("Change the list"),
        form_class=ListedAccountsForm,
        preview=partial(_preview, campaign),
        perform=partial(_perform, campaign.pk),
        back=actions.page_of(campaign),
    )


def _preview(campaign: Campaign, data: Mapping[str, Any]) -> ActionPreview:
    ids = data["accounts"]
    listed = eligible_accounts.listed(campaign_id=campaign.pk, account_ids=ids)
    if data["change"] == ADD:
        number = len(set(ids) - listed)
        question = ngettext("Add %(count)s account?", "Add %(count)s accounts?", number)
    else:
        number = len(listed)
        question = ngettext("Remove %(count)s account?", "Remove %(count)s accounts?", number)
    return ActionPreview(
        question % {"count": f"{number:,}"},
        facts=[
            (gettext("Campaign"), campaign.name),
            (gettext("Accounts entered"), f"{len(set(ids)):,}"),
            (gettext("Of these in the list"), f"{len(listed):,}"),
            (gettext("Accounts in the list"), f"{eligible_accounts.count(campaign.pk):,}"),
        ],
        warning="" if data["change"] == ADD else gettext("Coupons that are issued stay usable."),
    )


def _perform(campaign_id: int, data: Mapping[str, Any]) -> str:
    """Change the list; accounts that are in it already, or not any more, are skipped, so a repeat is safe."""
    wanted: Any = {"campaign_id": campaign_id, "account_ids": data["accounts"], "reason": data["reason"]}
    if data["change"] == ADD:
        return add_codes_page.added_text(eligible_accounts.add(**wanted))
    removed = eligible_accounts.remove(**wanted)
    text = ngettext("%(count)s account removed.", "%(count)s accounts removed.", removed)
    return text % {"count": f"{removed:,}"}
