"""The actions on an account: issue a coupon, grant points, sign out everywhere, disable and enable.

Each calls the function that the API or the list of accounts calls, and needs the same permission.
"""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from coupons import campaigns
from coupons.allocation.writes import Issued, Queued
from coupons.issuing import issuing
from payments import ledger, points_grants
from payments.models import Entry
from shop import form_fields
from shop.accounts import accounts, permissions, sign_outs
from shop.approval_models import Approval
from shop.backoffice.page_elements import Button
from shop.backoffice.page_elements import amount as amount_text
from shop.db import transactions
from shop.errors import NotAllowed
from shop.events import journal
from shop.http.validation import LARGEST_AMOUNT
from shop.idempotency import recorded_answers
from shop.models import SignOut
from shop.money import minor_unit_help
from shop.operators import actions as operator_actions
from shop.operators.actions import Action, ActionForm, ActionPreview

ISSUE_COUPON, GRANT_POINTS = "coupons.add_coupon", "payments.add_transfer"
MOST_CAMPAIGNS = 200
SIGNED_OUT = _(
    "Refresh tokens are refused now, access tokens within five seconds, and the API keys that it has made "
    "are revoked."
)


def buttons(request: HttpRequest, account: User) -> list[Button]:
    """The actions that this operator may take on the account as it is."""
    user, is_other = request.user, account.pk != request.user.pk
    may_disable = _may_disable(request, account)

    def button(name: str, title: str, icon: str, variant: str = "default") -> Button:
        return Button(title, reverse(f"account-{name}", args=[account.pk]), icon, variant)

    possible = (
        (
            is_other and account.is_active and user.has_perm(ISSUE_COUPON),
            button("issue-coupon", gettext("Issue a coupon"), "confirmation_number"),
        ),
        (
            is_other and account.is_active and user.has_perm(GRANT_POINTS),
            button("grant-points", gettext("Grant points"), "redeem"),
        ),
        (may_disable, button("sign-out", gettext("Sign out everywhere"), "logout")),
        (
            is_other and may_disable and account.is_active,
            button("disable", gettext("Disable"), "block", "danger"),
        ),
        (is_other and may_disable and not account.is_active, button("enable", gettext("Enable"), "check")),
        (may_export(request, account), button("export", gettext("Export its data"), "download")),
        (may_erase(request, account), button("erase", gettext("Erase"), "delete_forever", "danger")),
    )
    return [button for is_possible, button in possible if is_possible]


class IssueCouponForm(ActionForm):
    campaign = form_fields.WholeNumberField(
        label=_("Campaign"), widget=UnfoldAdminSelectWidget, help_text=_("Those that issue coupons now.")
    )
    field_order = ["campaign", "reason"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Which campaigns issue coupons is decided when one is issued: a repeat may come when it is sold out.
        running = campaigns.running().order_by("-pk")[:MOST_CAMPAIGNS]
        choices = [(campaign.pk, _choice_text(campaign)) for campaign in running]
        none_chosen = gettext("Choose one") if choices else gettext("No campaign issues coupons now")
        self.fields["campaign"].widget.choices = [("", none_chosen), *choices]


class GrantPointsForm(ActionForm):
    amount = form_fields.WholeNumberField(
        label=_("Amount"),
        min_value=1,
        max_value=LARGEST_AMOUNT,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=lazy(minor_unit_help, str)(),
    )
    field_order = ["amount", "reason"]


View = Callable[[HttpRequest, int], HttpResponse]


def account_action(
    is_allowed: Callable[[HttpRequest, User], bool],
) -> Callable[[Callable[[HttpRequest, User], Action]], View]:
    """Make a view of a function that returns the action on an account; 403 without the permission."""

    def decorate(describe: Callable[[HttpRequest, User], Action]) -> View:
        @wraps(describe)
        def view(request: HttpRequest, account_id: int) -> HttpResponse:
            account = get_object_or_404(User, pk=account_id)
            if not is_allowed(request, account):
                raise PermissionDenied
            return operator_actions.run(request, describe(request, account))

        return view

    return decorate


def _may_disable(request: HttpRequest, account: User) -> bool:
    """As the list of accounts decides: staff accounts are for superusers only."""
    pages: Any = admin.site.get_model_admin(User)
    return bool(pages.has_disable_permission(request, account))


def _may_disable_other(request: HttpRequest, account: User) -> bool:
    return account.pk != request.user.pk and _may_disable(request, account)


def may_export(request: HttpRequest, account: User) -> bool:
    return request.user.has_perm(permissions.EXPORT) and _is_not_protected(request, account)


def may_erase(request: HttpRequest, account: User) -> bool:
    is_other = account.pk != request.user.pk
    return is_other and request.user.has_perm(permissions.ERASE) and _is_not_protected(request, account)


def _is_not_protected(request: HttpRequest, account: User) -> bool:
    """Staff accounts are for superusers only."""
    is_superuser = isinstance(request.user, User) and request.user.is_superuser
    return is_superuser or not (account.is_staff or account.is_superuser)


@account_action(lambda request, account: request.user.has_perm(ISSUE_COUPON))
def issue_coupon(request: HttpRequest, account: User) -> Action:
    def preview(data: Mapping[str, Any]) -> ActionPreview:
        campaign = campaigns.get(campaign_id=data["campaign"], include_closed=True)
        return ActionPreview(
            gettext("Issue a coupon of %(campaign)s to %(account)s?")
            % {"campaign": campaign.name, "account": account.username},
            facts=[
                (gettext("Discount"), _discount_text(campaign)),
                (gettext("Left in the campaign"), _left_text(campaign)),
                (gettext("Reason"), data["reason"]),
            ],
            warning=gettext("It can be made void afterwards, but its slot is not issued again."),
        )

    describe = partial(_issue_text, account)

    def perform(data: Mapping[str, Any]) -> str:
        operator_actions.perform_once(
            request,
            data,
            lambda: _note_request(account, data),
            action=f"note that a coupon is issued to {account.pk}",
            describe=lambda _: "",
            part="request",
        )
        call = operator_actions.keyed_call_with_report(
            request, data, action=f"issue coupon to {account.pk}", describe=describe
        )
        known = transactions.read(lambda: recorded_answers.find(call))
        if known:
            return operator_actions.report_text(known, describe)
        with issuing.counting_answer(data["campaign"]) as answer:
            issued = answer.issued = issuing.issue_by_staff(campaign_id=data["campaign"], user_id=account.pk)
        return operator_actions.report_text(recorded_answers.run_once(call, lambda: issued), describe)

    return Action(
        title=gettext("Issue a coupon to %(account)s") % {"account": account.username},
        description=gettext(
            "An account has one coupon of a campaign at most: one that it has already stays."
        ),
        submit=gettext("Issue"),
        form_class=IssueCouponForm,
        preview=preview,
        perform=perform,
        back=page_of(account),
    )


def _issue_text(account: User, issued: Issued | Queued) -> str:
    if isinstance(issued, Queued):
        return gettext("%(account)s is in the queue, with %(ahead)s ahead: ticket %(ticket)s.") % {
            "account": account.username,
            "ahead": f"{issued.ahead:,}",
            "ticket": issued.ticket.pk,
        }
    text = gettext("%(account)s has one of %(campaign)s already: %(code)s. Nothing was issued.")
    if issued.is_new:
        text = gettext("Coupon %(code)s of %(campaign)s is issued to %(account)s.")
    coupon = issued.coupon
    return text % {
        "account": account.username,
        "code": coupon.code,
        "campaign": coupon.campaign.name,
    }


def _note_request(account: User, data: Mapping[str, Any]) -> None:
    """Record the reason before the coupon is issued: the coupon's own line has the operator, and none."""
    journal.note(
        what="account.coupon_requested",
        subject=accounts.journal_subject(account.pk),
        after={"campaign": data["campaign"]},
        detail=data["reason"],
        is_internal=True,
    )


@account_action(lambda request, account: request.user.has_perm(GRANT_POINTS))
def grant_points(request: HttpRequest, account: User) -> Action:
    def preview(data: Mapping[str, Any]) -> ActionPreview:
        balance, granted = ledger.balance_amount(account.pk), data["amount"]
        return ActionPreview(
            gettext("Grant %(amount)s in points to %(account)s?")
            % {"amount": amount_text(granted), "account": account.username},
            facts=[
                (gettext("Balance now"), amount_text(balance)),
                (gettext("Balance afterwards"), amount_text(balance + granted)),
                (gettext("Reason"), data["reason"]),
            ],
            warning=" ".join(
                [
                    gettext("A grant can't be taken back: the account may spend it at once."),
                    gettext(
                        "Above %(most)s at once or %(of_day)s in a day another operator has to approve it."
                    )
                    % {
                        "most": amount_text(settings.GRANT_LIMIT_AMOUNT),
                        "of_day": amount_text(settings.GRANT_DAY_AMOUNT),
                    },
                ]
            ),
        )

    def describe(granted: Entry | Approval) -> str:
        if isinstance(granted, Approval):
            text = gettext(
                "Nothing is granted yet: another operator has to approve %(amount)s for %(account)s."
            )
            amount = amount_text(granted.arguments["amount"])
            return text % {"amount": amount, "account": account.username}
        entry = granted
        return gettext("%(amount)s granted to %(account)s, whose balance is %(balance)s.") % {
            "amount": amount_text(entry.amount),
            "account": account.username,
            "balance": amount_text(entry.balance_after_amount),
        }

    def perform(data: Mapping[str, Any]) -> str:
        call = operator_actions.keyed_call_with_report(
            request, data, action=f"grant points to {account.pk}", describe=describe
        )
        wanted = {"user_id": account.pk, "amount": data["amount"], "reason": data["reason"], "keyed": call}
        try:
            granted: Any = points_grants.grant(**wanted)
        except NotAllowed as error:
            if error.code != points_grants.APPROVAL_REQUIRED:
                raise
            granted = points_grants.ask_to_grant(**wanted)
        return operator_actions.report_text(granted, describe)

    return Action(
        title=gettext("Grant points to %(account)s") % {"account": account.username},
        description=gettext("Adds points to the account's wallet, paid by the shop."),
        submit=gettext("Grant"),
        form_class=GrantPointsForm,
        preview=preview,
        perform=perform,
        back=page_of(account),
    )


@account_action(_may_disable)
def sign_out(request: HttpRequest, account: User) -> Action:
    def describe(_: SignOut) -> str:
        done = gettext("%(account)s is signed out everywhere.") % {"account": account.username}
        return f"{done} {SIGNED_OUT}"

    def perform(data: Mapping[str, Any]) -> str:
        return operator_actions.perform_once(
            request,
            data,
            lambda: sign_outs.sign_out_everywhere(account_id=account.pk, reason=data["reason"]),
            action=f"sign out {account.pk}",
            describe=describe,
        )

    return Action(
        title=gettext("Sign %(account)s out everywhere") % {"account": account.username},
        description=gettext(
            "All tokens, sessions and API keys that it has now end. It may sign in again at once, with its "
            "password: set another one first if that may be known."
        ),
        submit=gettext("Sign out everywhere"),
        form_class=ActionForm,
        preview=lambda data: ActionPreview(
            gettext("Sign %(account)s out everywhere?") % {"account": account.username},
            facts=[(gettext("Reason"), data["reason"])],
            warning=" ".join(
                [str(SIGNED_OUT), gettext("The customer has to sign in again on every device.")]
            ),
        ),
        perform=perform,
        back=page_of(account),
        is_dangerous=True,
    )


@account_action(_may_disable_other)
def disable(request: HttpRequest, account: User) -> Action:
    def describe(count: int) -> str:
        text = gettext("%(account)s was disabled already; nothing was done.")
        if count:
            text = gettext("%(account)s is disabled: its tokens are refused within five seconds.")
        return text % {"account": account.username}

    def perform(data: Mapping[str, Any]) -> str:
        return operator_actions.perform_once(
            request,
            data,
            lambda: accounts.disable(
                account_ids=[account.pk], keeping={request.user.pk}, reason=data["reason"]
            ),
            action=f"disable {account.pk}",
            describe=describe,
        )

    return Action(
        title=gettext("Disable %(account)s") % {"account": account.username},
        description=gettext(
            "A disabled account can't sign in, and its tokens are refused within five seconds. Its orders, "
            "coupons and points stay."
        ),
        submit=gettext("Disable"),
        form_class=ActionForm,
        preview=lambda data: ActionPreview(
            gettext("Disable %(account)s?") % {"account": account.username},
            facts=[(gettext("Reason"), data["reason"])],
            warning=gettext("Orders that are being paid go on; unpaid ones expire."),
        ),
        perform=perform,
        back=page_of(account),
        is_dangerous=True,
    )


@account_action(_may_disable_other)
def enable(request: HttpRequest, account: User) -> Action:
    def describe(count: int) -> str:
        text = gettext("%(account)s was enabled already; nothing was done.")
        if count:
            text = gettext("%(account)s is enabled: it can sign in, and is accepted within five seconds.")
        return text % {"account": account.username}

    def perform(data: Mapping[str, Any]) -> str:
        return operator_actions.perform_once(
            request,
            data,
            lambda: accounts.enable(account_ids=[account.pk], reason=data["reason"]),
            action=f"enable {account.pk}",
            describe=describe,
        )

    return Action(
        title=gettext("Enable %(account)s") % {"account": account.username},
        description=gettext(
            "The account can sign in again, and tokens that have not expired work again: sign it out "
            "everywhere first if others may have them. So do the API keys that it has made: revoke them "
            "first if others may have them."
        ),
        submit=gettext("Enable"),
        form_class=ActionForm,
        preview=lambda data: ActionPreview(
            gettext("Enable %(account)s?") % {"account": account.username},
            facts=[(gettext("Reason"), data["reason"])],
        ),
        perform=perform,
        back=page_of(account),
    )


def page_of(account: User) -> str:
    """The address of the account's page."""
    return reverse("account-page", args=[account.pk])


def _discount_text(campaign: Any) -> str:
    if campaign.discount_type == campaign.DiscountType.PERCENT:
        return f"{campaign.discount_value} %"
    return amount_text(campaign.discount_value)


def _choice_text(campaign: Any) -> str:
    left = gettext("%(count)s left") % {"count": f"{campaign.remaining:,}"}
    return f"{campaign.name}: {left}"


def _left_text(campaign: Any) -> str:
    return gettext("%(count)s of %(total)s") % {
        "count": f"{campaign.remaining:,}",
        "total": f"{campaign.capacity:,}",
    }
