"""The actions on an account: coupons, points, sign-outs, disabling, and its personal data.

Each calls the function that the API or the list of accounts calls, and needs the same permission.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
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
from backoffice.page_elements import Button, coupons_left
from coupons import campaigns, issuing
from coupons.allocation.outcomes import Issued, Queued
from foundation import clock, form_fields, journal
from foundation.admin_base.actions import (
    Action,
    ActionForm,
    ActionPreview,
    FormData,
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
SIGNED_OUT = _(
    "Refresh tokens are refused now, access tokens within five seconds, and the API keys that it has made "
    "are revoked."
)


class IssueCouponForm(ActionForm):
    campaign = form_fields.WholeNumberField(
        label=_("Campaign"), widget=UnfoldAdminSelectWidget, help_text=_("Those that issue coupons now.")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Which campaigns issue coupons is decided when one is issued: a repeat may come when it is sold out.
        running = campaigns.running().order_by("-pk")[:MOST_CAMPAIGNS]
        choices = [(one.pk, f"{one.name}: {coupons_left(one)}") for one in running]
        none_chosen = gettext("Choose one") if choices else gettext("No campaign issues coupons now")
        self.fields["campaign"].widget.choices = [("", none_chosen), *choices]


class GrantPointsForm(ActionForm):
    amount = form_fields.WholeNumberField(
        label=_("Amount"), min_value=1, max_value=LARGEST_AMOUNT, help_text=lazy(minor_unit_help, str)()
    )


class EraseForm(ActionForm):
    forfeit_balance = forms.BooleanField(
        label=_("Forfeit the points"),
        required=False,
        help_text=_("Points left in the wallet go back to the shop. Without this they refuse the erasure."),
    )


def issue_coupon(request: HttpRequest, account: User) -> Action:
    def preview(data: FormData) -> ActionPreview:
        campaign = campaigns.get(campaign_id=data["campaign"], include_closed=True)
        is_percent = campaign.discount_type == campaign.DiscountType.PERCENT
        discount = f"{campaign.discount_value} %" if is_percent else format_amount(campaign.discount_value)
        return ActionPreview(
            gettext("Issue a coupon of %(campaign)s to %(account)s?")
            % {"campaign": campaign.name, "account": account.username},
            facts=[(gettext("Discount"), discount), (gettext("Campaign"), coupons_left(campaign))],
            warning=gettext("It can be made void afterwards, but its slot is not issued again."),
        )

    def perform(data: FormData) -> Issued | Queued:
        note = keyed_call_with_report(
            request,
            data,
            action=f"note that a coupon is issued to {account.pk}",
            describe=lambda _: "",
            part="request",
        )
        # The reason is recorded before the coupon is issued: the coupon's own line has none.
        line = partial(
            journal.note,
            what="account.coupon_requested",
            subject=accounts.journal_subject(account.pk),
            after={"campaign": data["campaign"]},
            detail=data["reason"],
            is_internal=True,
        )
        recorded_answers.run_once(note, line)
        return issuing.issue_by_staff(campaign_id=data["campaign"], user_id=account.pk)

    return Action(
        title=_("Issue a coupon to %(account)s"),
        description=gettext(
            "An account has one coupon of a campaign at most: one that it has already stays."
        ),
        submit=gettext("Issue"),
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
        text = gettext("%(account)s is in the queue, with %(ahead)s ahead: ticket %(ticket)s.")
        return text % (values | {"ahead": f"{issued.ahead:,}", "ticket": issued.ticket.pk})
    text = gettext("%(account)s has one of %(campaign)s already: %(code)s. Nothing was issued.")
    if issued.is_new:
        text = gettext("Coupon %(code)s of %(campaign)s is issued to %(account)s.")
    return text % (values | {"code": issued.coupon.code, "campaign": issued.coupon.campaign.name})


def grant_points(request: HttpRequest, account: User) -> Action:
    def preview(data: FormData) -> ActionPreview:
        balance = ledger.balance_amount(account.pk)
        granted = data["amount"]
        final = gettext("A grant can't be taken back: the account may spend it at once.")
        limited = gettext("Above %(most)s at once or %(of_day)s in a day another operator has to approve it.")
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
        )

    def describe(granted: Entry | Approval) -> str:
        if isinstance(granted, Approval):
            text = gettext(
                "Nothing is granted yet: another operator has to approve %(amount)s for %(account)s."
            )
            return text % {"amount": format_amount(granted.arguments["amount"]), "account": account.username}
        return gettext("%(amount)s granted to %(account)s, whose balance is %(balance)s.") % {
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
        submit=gettext("Grant"),
        form_class=GrantPointsForm,
        preview=preview,
        perform_keyed=perform,
        once=f"grant points to {account.pk}",
        report=describe,
    )


def sign_out(request: HttpRequest, account: User) -> Action:
    name = {"account": account.username}
    ending = gettext(
        "All tokens, sessions and API keys that it has now end. It may sign in again at once, with its "
        "password: set another one first if that may be known."
    )
    again = gettext("The customer has to sign in again on every device.")
    return Action(
        title=_("Sign %(account)s out everywhere"),
        description=f"{ending} {SIGNED_OUT} {again}",
        submit=gettext("Sign out everywhere"),
        perform=lambda data: sign_outs.sign_out_everywhere(account_id=account.pk, reason=data["reason"]),
        report=lambda _done: " ".join(
            [gettext("%(account)s is signed out everywhere.") % name, str(SIGNED_OUT)]
        ),
        once=f"sign out {account.pk}",
        is_dangerous=True,
    )


def disable(request: HttpRequest, account: User) -> Action:
    name = {"account": account.username}
    done = _("%(account)s is disabled: its tokens are refused within five seconds.")
    none = _("%(account)s was disabled already; nothing was done.")
    go_on = gettext("Orders that are being paid go on; unpaid ones expire.")
    return Action(
        title=_("Disable %(account)s"),
        description=f"{DISABLING} {go_on}",
        submit=gettext("Disable"),
        perform=lambda data: accounts.disable(account_ids=[account.pk], reason=data["reason"]),
        report=lambda count: (done if count else none) % name,
        once=f"disable {account.pk}",
        is_dangerous=True,
    )


def enable(request: HttpRequest, account: User) -> Action:
    name = {"account": account.username}
    done = _("%(account)s is enabled: it can sign in, and is accepted within five seconds.")
    none = _("%(account)s was enabled already; nothing was done.")
    return Action(
        title=_("Enable %(account)s"),
        description=gettext(
            "The account can sign in again, and has to on every device. The API keys that it has made work "
            "again: revoke them first if others may have them."
        ),
        submit=gettext("Enable"),
        perform=lambda data: sign_outs.enable(account_id=account.pk, reason=data["reason"]),
        report=lambda count: (done if count else none) % name,
        once=f"enable {account.pk}",
    )


def export(request: HttpRequest, account: User) -> Action:
    def respond(data: FormData) -> HttpResponse:
        document = registry.export(account_id=account.pk, reason=data["reason"])
        name = f'attachment; filename="account-{account.pk}.json"'
        headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
        return HttpResponse(document, content_type="application/json", headers=headers)

    whole = gettext("Everything that the database has of the account, as one JSON file.")
    owners = gettext("The file is for the account's owner alone: delete it once it is handed over.")
    return Action(
        title=_("Export the data of %(account)s"),
        description=f"{whole} {owners}",
        submit=gettext("Export"),
        perform=respond,
    )


def erase(request: HttpRequest, account: User) -> Action:
    def perform(data: FormData) -> str:
        forfeits = data["forfeit_balance"]
        wanted: Any = {"account_id": account.pk, "reason": data["reason"], "forfeit_balance": forfeits}
        if (seconds := (erasure.start(**wanted) - clock.now()).total_seconds()) > 0:
            text = gettext("%(account)s is disabled. Erase it again in %(seconds)s seconds to complete it.")
            return text % {"account": account.username, "seconds": int(seconds) + 1}
        text = gettext("Account %(id)s was erased before: nothing was done.")
        if erasure.erase(**wanted).is_new:
            text = gettext("Account %(id)s is erased.")
        return text % {"id": account.pk}

    return Action(
        title=_("Erase %(account)s"),
        description=gettext(
            "Disables the account, and half a minute later, when this is sent again, replaces what names the "
            "person by a pseudonym. Orders and the ledger stay. It is refused while anything is open."
        ),
        submit=gettext("Erase"),
        form_class=EraseForm,
        preview=lambda data: ActionPreview(
            gettext("Erase %(account)s?") % {"account": account.username},
            warning=gettext("An erasure can't be taken back."),
        ),
        perform=perform,
        is_dangerous=True,
    )


def _may_disable(request: HttpRequest, account: User) -> bool:
    """As the list of accounts decides: staff accounts are for superusers only."""
    pages: Any = admin.site.get_model_admin(User)
    return bool(pages.has_disable_permission(request, account))


def _may(permission: str, request: HttpRequest, account: User) -> bool:
    """Whether the operator has the permission; staff accounts are for superusers only."""
    return request.user.has_perm(permission) and may_act_on(request, account)


def _is_other(request: HttpRequest, account: User) -> bool:
    return account.pk != request.user.pk


def _is_active_other(request: HttpRequest, account: User) -> bool:
    return _is_other(request, account) and account.is_active


def _may_disable_other(request: HttpRequest, account: User) -> bool:
    return _is_other(request, account) and _may_disable(request, account)


@dataclass(frozen=True, slots=True)
class AccountAction:
    """An action on accounts: its button, on which account who may take it, and when it makes sense."""

    describe: Callable[[HttpRequest, User], Action]
    title: Text
    icon: str
    is_allowed: Callable[[HttpRequest, User], bool]
    is_useful: Callable[[HttpRequest, User], bool] = lambda request, account: True
    variant: str = "default"

    @property
    def name(self) -> str:
        """As its address has it."""
        return self.describe.__name__.replace("_", "-")

    def run(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Its page. Raises `PermissionDenied` and `Http404`."""
        account = get_object_or_404(User, pk=account_id)
        if not self.is_allowed(request, account):
            raise PermissionDenied
        described = self.describe(request, account)
        title = described.title % {"account": account.username}
        back = reverse("account-page", args=[account.pk])
        return run(request, replace(described, title=title, back=back))


ACTIONS = (
    AccountAction(
        issue_coupon,
        _("Issue a coupon"),
        "confirmation_number",
        lambda request, account: request.user.has_perm("coupons.add_coupon"),
        _is_active_other,
    ),
    AccountAction(
        grant_points,
        _("Grant points"),
        "redeem",
        lambda request, account: request.user.has_perm(points_grants.PERMISSION),
        _is_active_other,
    ),
    AccountAction(sign_out, _("Sign out everywhere"), "logout", _may_disable),
    AccountAction(
        disable,
        _("Disable"),
        "block",
        _may_disable_other,
        lambda request, account: account.is_active,
        variant="danger",
    ),
    AccountAction(
        enable, _("Enable"), "check", _may_disable_other, lambda request, account: not account.is_active
    ),
    AccountAction(export, _("Export its data"), "download", partial(_may, permissions.EXPORT)),
    AccountAction(
        erase,
        _("Erase"),
        "delete_forever",
        lambda request, account: _is_other(request, account) and _may(permissions.ERASE, request, account),
        variant="danger",
    ),
)
"""In the order of their buttons."""


def buttons(request: HttpRequest, account: User) -> list[Button]:
    """The actions that this operator may take on the account as it is."""
    return [
        Button(str(one.title), reverse(f"account-{one.name}", args=[account.pk]), one.icon, one.variant)
        for one in ACTIONS
        if one.is_allowed(request, account) and one.is_useful(request, account)
    ]
