"""The actions on an account: coupons, points, sign-outs, disabling, and its personal data.

Each calls the function that the API or the list of accounts calls, and needs the same permission.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from accounts import accounts, permissions
from accounts.admin import DISABLING, may_act_on
from accounts.personal_data import erasure, registry
from accounts.tokens import sign_outs
from backoffice.page_elements import coupons_left
from coupons import campaigns, issuing
from coupons.admin.campaigns import discount_text
from coupons.allocation.outcomes import Issued, Queued
from foundation import clock, form_fields
from foundation.admin_base.actions import (
    Action,
    ActionForm,
    ActionPreview,
    FormData,
    calling,
    keyed_call_with_report,
    run,
)
from foundation.approval_models import Approval
from foundation.errors import NotAllowed
from foundation.http.validation import LARGEST_AMOUNT
from foundation.idempotency import recorded_answers
from foundation.lazy_texts import Text
from foundation.money import format_amount, minor_unit_help
from payments import ledger, points_grants
from payments.models import Entry

MOST_CAMPAIGNS = 200
SIGNED_OUT = _("It takes five seconds at most. API keys that the account made are revoked.")


class IssueCouponForm(ActionForm):
    campaign = form_fields.WholeNumberField(
        label=_("Campaign"), widget=UnfoldAdminSelectWidget, help_text=_("Campaigns that issue coupons now.")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Which campaigns issue coupons is decided when one is issued: a repeat may come when it is sold out.
        running = campaigns.running().order_by("-pk")[:MOST_CAMPAIGNS]
        choices = [(one.pk, f"{one.name}: {coupons_left(one)}") for one in running]
        none_chosen = gettext("Choose one") if choices else gettext("No campaign is issuing coupons now")
        self.fields["campaign"].widget.choices = [("", none_chosen), *choices]


class GrantPointsForm(ActionForm):
    amount = form_fields.WholeNumberField(
        label=_("Amount"), min_value=1, max_value=LARGEST_AMOUNT, help_text=lazy(minor_unit_help, str)()
    )


class EraseForm(ActionForm):
    forfeit_balance = forms.BooleanField(
        label=_("Forfeit the points"),
        required=False,
        help_text=_(
            "Points left in the wallet go back to the shop. Unless you choose this, an account "
            "with points is not erased."
        ),
    )


def issue_coupon(request: HttpRequest, account: User) -> Action:
    def preview(data: FormData) -> ActionPreview:
        campaign = campaigns.get(campaign_id=data["campaign"], include_closed=True)
        return ActionPreview(
            gettext("Issue a coupon of %(campaign)s to %(account)s?")
            % {"campaign": campaign.name, "account": account.username},
            facts=[
                (gettext("Discount"), discount_text(campaign)),
                (gettext("Campaign"), coupons_left(campaign)),
            ],
            warning=gettext("You can make it void later, but it counts towards the campaign's quantity."),
        )

    def perform(data: FormData) -> Issued | Queued:
        action = f"note that a coupon is issued to {account.pk}"
        note = keyed_call_with_report(request, data, action=action, describe=lambda _: "", part="request")
        # The reason is recorded before the coupon is issued: the coupon's own line has none.
        line = partial(
            accounts.note_change,
            "coupon_requested",
            account.pk,
            after={"campaign": data["campaign"]},
            detail=data["reason"],
        )
        recorded_answers.run_once(note, line)
        return issuing.issue_by_staff(campaign_id=data["campaign"], user_id=account.pk)

    return Action(
        title=_("Issue a coupon to %(account)s"),
        description=gettext(
            "An account gets at most one coupon of a campaign. If it has one already, nothing is issued."
        ),
        submit=gettext("Issue the coupon"),
        form_class=IssueCouponForm,
        preview=preview,
        perform=perform,
        report=partial(_issue_text, account),
        once=f"issue coupon to {account.pk}",
        is_one_transaction=False,
    )


def _issue_text(account: User, issued: Issued | Queued) -> str:
    values = {"account": account.username}
    if isinstance(issued, Queued):
        text = gettext(
            "%(account)s waits in the queue with %(ahead)s ahead, and gets the coupon then "
            "(ticket %(ticket)s)."
        )
        return text % (values | {"ahead": f"{issued.ahead:,}", "ticket": issued.ticket.pk})
    text = gettext("%(account)s already has a coupon of %(campaign)s: %(code)s. Nothing was issued.")
    if issued.is_new:
        text = gettext("Coupon %(code)s of %(campaign)s is issued to %(account)s.")
    return text % (values | {"code": issued.coupon.code, "campaign": issued.coupon.campaign.name})


def _preview_grant(account: User, data: FormData) -> ActionPreview:
    balance = ledger.balance_amount(account.pk)
    granted = data["amount"]
    final = gettext("Points can't be taken back: the customer may spend them at once.")
    limited = gettext(
        "Above %(most)s at once, or %(of_day)s in a day, another member of staff has to approve it."
    )
    most = settings.GRANT_LIMIT_AMOUNT
    limits = {"most": format_amount(most), "of_day": format_amount(settings.GRANT_DAY_AMOUNT)}
    return ActionPreview(
        gettext("Grant %(amount)s in points to %(account)s?")
        % {"amount": format_amount(granted), "account": account.username},
        facts=[
            (gettext("Balance now"), format_amount(balance)),
            (gettext("Balance afterwards"), format_amount(balance + granted)),
        ],
        warning=f"{final} {limited % limits}",
        submit=gettext("Grant %(amount)s") % {"amount": format_amount(granted)},
    )


def grant_points(request: HttpRequest, account: User) -> Action:
    def describe(granted: Entry | Approval) -> str:
        if isinstance(granted, Approval):
            text = gettext(
                "Nothing is granted yet: another member of staff has to approve %(amount)s for %(account)s."
            )
            return text % {"amount": format_amount(granted.arguments["amount"]), "account": account.username}
        return gettext("%(account)s got %(amount)s in points. The balance is %(balance)s now.") % {
            "amount": format_amount(granted.amount),
            "account": account.username,
            "balance": format_amount(granted.balance_after_amount or 0),
        }

    def perform(data: FormData, call: recorded_answers.KeyedCall) -> Any:
        wanted = {"user_id": account.pk, "amount": data["amount"], "reason": data["reason"], "keyed": call}
        try:
            return points_grants.grant(**wanted)
        except NotAllowed as error:
            if error.code != points_grants.APPROVAL_REQUIRED:
                raise
            return points_grants.ask_to_grant(**wanted)

    return Action(
        title=_("Grant points to %(account)s"),
        description=gettext("Adds points to the account's wallet, paid by the shop."),
        submit=gettext("Grant points"),
        form_class=GrantPointsForm,
        preview=partial(_preview_grant, account),
        perform_keyed=perform,
        once=f"grant points to {account.pk}",
        report=describe,
    )


def sign_out(request: HttpRequest, account: User) -> Action:
    ending = gettext(
        "The account is signed out everywhere, and its API keys end. It can sign in again with its "
        "password: if others may know that, change it first."
    )
    again = gettext("The customer has to sign in again on every device.")
    done = _("%(account)s is signed out everywhere.")
    return Action(
        title=_("Sign %(account)s out everywhere"),
        description=f"{ending} {SIGNED_OUT} {again}",
        submit=gettext("Sign out everywhere"),
        perform=calling(sign_outs.sign_out_everywhere, account_id=account.pk),
        report=lambda _done: f"{done % {'account': account.username}} {SIGNED_OUT}",
        once=f"sign out {account.pk}",
        is_dangerous=True,
    )


def disable(request: HttpRequest, account: User) -> Action:
    name = {"account": account.username}
    done = _("%(account)s is disabled, and signed out within five seconds.")
    none = _("%(account)s was disabled already; nothing was done.")
    go_on = gettext("Orders that are being paid go on; unpaid ones expire.")
    return Action(
        title=_("Disable %(account)s"),
        description=f"{DISABLING} {go_on}",
        submit=gettext("Disable"),
        perform=calling(accounts.disable, account_ids=[account.pk]),
        report=lambda count: (done if count else none) % name,
        once=f"disable {account.pk}",
        is_dangerous=True,
    )


def enable(request: HttpRequest, account: User) -> Action:
    name = {"account": account.username}
    done = _("%(account)s is enabled, and can sign in within five seconds.")
    none = _("%(account)s was enabled already; nothing was done.")
    return Action(
        title=_("Enable %(account)s"),
        description=gettext(
            "The account has to sign in again on every device. Its API keys work again: if others may "
            "have them, revoke them first."
        ),
        submit=gettext("Enable"),
        perform=calling(sign_outs.enable, account_id=account.pk),
        report=lambda count: (done if count else none) % name,
        once=f"enable {account.pk}",
    )


def export(request: HttpRequest, account: User) -> Action:
    def respond(data: FormData) -> HttpResponse:
        document = registry.export(account_id=account.pk, reason=data["reason"])
        name = f'attachment; filename="account-{account.pk}.json"'
        headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
        return HttpResponse(document, content_type="application/json", headers=headers)

    whole = gettext("All that the shop has about this customer, as one JSON file.")
    owners = gettext("It is for the customer alone. Delete your copy once you have handed it over.")
    return Action(
        title=_("Export the data of %(account)s"),
        description=f"{whole} {owners}",
        submit=gettext("Export the data"),
        perform=respond,
    )


def erase(request: HttpRequest, account: User) -> Action:
    def perform(data: FormData) -> str:
        forfeits = data["forfeit_balance"]
        wanted: Any = {"account_id": account.pk, "reason": data["reason"], "forfeit_balance": forfeits}
        if (seconds := (erasure.start(**wanted) - clock.now()).total_seconds()) > 0:
            text = gettext("%(account)s is disabled. To finish, press Erase again in %(seconds)s seconds.")
            return text % {"account": account.username, "seconds": int(seconds) + 1}
        text = gettext("Account %(id)s was erased before: nothing was done.")
        if erasure.erase(**wanted).is_new:
            text = gettext("Account %(id)s is erased.")
        return text % {"id": account.pk}

    return Action(
        title=_("Erase %(account)s"),
        description=gettext(
            "First the account is disabled. Half a minute later, press Erase again: then all that "
            "names the person is removed. Orders and amounts stay. Nothing is erased while an order or "
            "payment is open."
        ),
        submit=gettext("Erase"),
        keep=gettext("Don't erase"),
        form_class=EraseForm,
        preview=lambda data: ActionPreview(
            gettext("Erase %(account)s?") % {"account": account.username},
            warning=gettext("An erasure can't be undone."),
        ),
        perform=perform,
        is_dangerous=True,
    )


def _is_active_other(request: HttpRequest, account: User) -> bool:
    return account.pk != request.user.pk and account.is_active


@dataclass(frozen=True, slots=True)
class AccountAction:
    """An action on accounts: its button, one of the rights that it needs, and when it makes sense.

    On staff accounts superusers alone act, unless it is `on_staff`.
    """

    describe: Callable[[HttpRequest, User], Action]
    title: Text
    icon: str
    permissions: Sequence[str]
    is_useful: Callable[[HttpRequest, User], bool] = lambda request, account: True
    variant: str = "default"
    on_oneself: bool = True
    on_staff: bool = False

    @property
    def name(self) -> str:
        """As its address has it."""
        return self.describe.__name__.replace("_", "-")

    def is_allowed(self, request: HttpRequest, account: User) -> bool:
        return (
            any(map(request.user.has_perm, self.permissions))
            and (self.on_oneself or account.pk != request.user.pk)
            and (self.on_staff or may_act_on(request, account))
        )

    def run(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Its page. Raises `PermissionDenied` and `Http404`."""
        account = get_object_or_404(User, pk=account_id)
        if not self.is_allowed(request, account):
            raise PermissionDenied
        described = self.describe(request, account)
        title = described.title % {"account": account.username}
        back = reverse("account-page", args=[account.pk])
        return run(request, replace(described, title=title, back=back))


MAY_DISABLE = (permissions.DISABLE, "auth.change_user")
"""As the list of accounts decides."""
ACTIONS = (
    AccountAction(
        issue_coupon,
        _("Issue a coupon"),
        "confirmation_number",
        ["coupons.add_coupon"],
        _is_active_other,
        on_staff=True,
    ),
    AccountAction(
        grant_points, _("Grant points"), "redeem", [points_grants.PERMISSION], _is_active_other, on_staff=True
    ),
    AccountAction(sign_out, _("Sign out everywhere"), "logout", MAY_DISABLE),
    AccountAction(
        disable, _("Disable"), "block", MAY_DISABLE, _is_active_other, variant="danger", on_oneself=False
    ),
    AccountAction(
        enable,
        _("Enable"),
        "check",
        MAY_DISABLE,
        lambda request, account: not account.is_active,
        on_oneself=False,
    ),
    AccountAction(export, _("Export its data"), "download", [permissions.EXPORT]),
    AccountAction(
        erase, _("Erase"), "delete_forever", [permissions.ERASE], variant="danger", on_oneself=False
    ),
)
"""In the order of their buttons."""


def buttons(request: HttpRequest, account: User) -> list[tuple[AccountAction, str]]:
    """The actions that this operator may take on the account as it is, and their addresses."""
    return [
        (one, reverse(f"account-{one.name}", args=[account.pk]))
        for one in ACTIONS
        if one.is_allowed(request, account) and one.is_useful(request, account)
    ]
