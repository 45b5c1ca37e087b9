"""The actions on an account: issue a coupon, grant points, sign out everywhere, disable and enable.

Each calls the function that the API or the list of accounts calls, and needs the same permission.
"""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, NamedTuple

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
from unfold.widgets import UnfoldAdminSelectWidget

from coupons import campaigns
from coupons.allocation.writes import Issued, Queued
from coupons.issuing import issuing
from payments import ledger, points_grants
from payments.models import Entry
from shop import form_fields
from shop.accounts import accounts, sign_outs
from shop.approval_models import Approval
from shop.backoffice.page_elements import Button
from shop.backoffice.page_elements import amount as amount_text
from shop.errors import NotAllowed
from shop.events import journal
from shop.http.validation import LARGEST_AMOUNT
from shop.idempotency import recorded_answers
from shop.lazy_texts import Text
from shop.money import minor_unit_help
from shop.operators import actions as operator_actions
from shop.operators.actions import Action, ActionForm, ActionPreview

MOST_CAMPAIGNS = 200
SIGNED_OUT = _(
    "Refresh tokens are refused now, access tokens within five seconds, and the API keys that it has made "
    "are revoked."
)


View = Callable[[HttpRequest, int], HttpResponse]
Condition = Callable[[HttpRequest, User], bool]


class AccountAction(NamedTuple):
    """An action on accounts: its address, its button, and on which account who may take it."""

    name: str
    title: Text
    icon: str
    variant: str
    is_allowed: Condition
    is_useful: Condition
    view: View


ACTIONS: list[AccountAction] = []
"""In the order of their buttons."""


def account_action(
    title: Text,
    icon: str,
    is_allowed: Condition,
    *,
    is_useful: Condition = lambda request, account: True,
    variant: str = "default",
) -> Callable[[Callable[[HttpRequest, User], Action]], View]:
    """Make a view, and a button, of a function that returns the action on an account; else 403."""

    def decorate(describe: Callable[[HttpRequest, User], Action]) -> View:
        @wraps(describe)
        def view(request: HttpRequest, account_id: int) -> HttpResponse:
            account = get_object_or_404(User, pk=account_id)
            if not is_allowed(request, account):
                raise PermissionDenied
            return operator_actions.run(request, describe(request, account))

        name = describe.__name__.replace("_", "-")
        ACTIONS.append(AccountAction(name, title, icon, variant, is_allowed, is_useful, view))
        return view

    return decorate


def buttons(request: HttpRequest, account: User) -> list[Button]:
    """The actions that this operator may take on the account as it is."""
    return [
        Button(str(one.title), reverse(f"account-{one.name}", args=[account.pk]), one.icon, one.variant)
        for one in ACTIONS
        if one.is_allowed(request, account) and one.is_useful(request, account)
    ]


class IssueCouponForm(ActionForm):
    campaign = form_fields.WholeNumberField(
        label=_("Campaign"), widget=UnfoldAdminSelectWidget, help_text=_("Those that issue coupons now.")
    )
    field_order = ["campaign", "reason"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Which campaigns issue coupons is decided when one is issued: a repeat may come when it is sold out.
        running = campaigns.running().order_by("-pk")[:MOST_CAMPAIGNS]
        left = gettext("%(count)s left")
        choices = [(one.pk, f"{one.name}: {left % {'count': f'{one.remaining:,}'}}") for one in running]
        none_chosen = gettext("Choose one") if choices else gettext("No campaign issues coupons now")
        self.fields["campaign"].widget.choices = [("", none_chosen), *choices]


class GrantPointsForm(ActionForm):
    amount = form_fields.WholeNumberField(
        label=_("Amount"),
        min_value=1,
        max_value=LARGEST_AMOUNT,
        help_text=lazy(minor_unit_help, str)(),
    )
    field_order = ["amount", "reason"]


def _may_disable(request: HttpRequest, account: User) -> bool:
    """As the list of accounts decides: staff accounts are for superusers only."""
    pages: Any = admin.site.get_model_admin(User)
    return bool(pages.has_disable_permission(request, account))


def _may_disable_other(request: HttpRequest, account: User) -> bool:
    return account.pk != request.user.pk and _may_disable(request, account)


def _is_customer(request: HttpRequest, account: User) -> bool:
    return account.pk != request.user.pk and account.is_active


@account_action(
    _("Issue a coupon"),
    "confirmation_number",
    lambda request, account: request.user.has_perm("coupons.add_coupon"),
    is_useful=_is_customer,
)
def issue_coupon(request: HttpRequest, account: User) -> Action:
    def preview(data: Mapping[str, Any]) -> ActionPreview:
        campaign = campaigns.get(campaign_id=data["campaign"], include_closed=True)
        left = gettext("%(count)s of %(total)s")
        counts = {"count": f"{campaign.remaining:,}", "total": f"{campaign.capacity:,}"}
        return ActionPreview(
            gettext("Issue a coupon of %(campaign)s to %(account)s?")
            % {"campaign": campaign.name, "account": account.username},
            facts=[
                (gettext("Discount"), _discount_text(campaign)),
                (gettext("Left in the campaign"), left % counts),
            ],
            warning=gettext("It can be made void afterwards, but its slot is not issued again."),
        )

    def perform(data: Mapping[str, Any]) -> Issued | Queued:
        note = operator_actions.keyed_call_with_report(
            request,
            data,
            action=f"note that a coupon is issued to {account.pk}",
            describe=lambda _: "",
            part="request",
        )
        recorded_answers.run_once(note, lambda: _note_request(account, data))
        with issuing.counting_answer(data["campaign"]) as answer:
            answer.issued = issuing.issue_by_staff(campaign_id=data["campaign"], user_id=account.pk)
        return answer.issued

    return Action(
        title=gettext("Issue a coupon to %(account)s") % {"account": account.username},
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
    return text % {"account": account.username, "code": coupon.code, "campaign": coupon.campaign.name}


def _note_request(account: User, data: Mapping[str, Any]) -> None:
    """Record the reason before the coupon is issued: the coupon's own line has the operator, and none."""
    journal.note(
        what="account.coupon_requested",
        subject=accounts.journal_subject(account.pk),
        after={"campaign": data["campaign"]},
        detail=data["reason"],
        is_internal=True,
    )


@account_action(
    _("Grant points"),
    "redeem",
    lambda request, account: request.user.has_perm("payments.add_transfer"),
    is_useful=_is_customer,
)
def grant_points(request: HttpRequest, account: User) -> Action:
    def preview(data: Mapping[str, Any]) -> ActionPreview:
        balance, granted = ledger.balance_amount(account.pk), data["amount"]
        final = gettext("A grant can't be taken back: the account may spend it at once.")
        limited = gettext("Above %(most)s at once or %(of_day)s in a day another operator has to approve it.")
        most, of_day = settings.GRANT_LIMIT_AMOUNT, settings.GRANT_DAY_AMOUNT
        limits = {"most": amount_text(most), "of_day": amount_text(of_day)}
        return ActionPreview(
            gettext("Grant %(amount)s in points to %(account)s?")
            % {"amount": amount_text(granted), "account": account.username},
            facts=[
                (gettext("Balance now"), amount_text(balance)),
                (gettext("Balance afterwards"), amount_text(balance + granted)),
            ],
            warning=f"{final} {limited % limits}",
        )

    def describe(granted: Entry | Approval) -> str:
        if isinstance(granted, Approval):
            text = gettext(
                "Nothing is granted yet: another operator has to approve %(amount)s for %(account)s."
            )
            amount = amount_text(granted.arguments["amount"])
            return text % {"amount": amount, "account": account.username}
        return gettext("%(amount)s granted to %(account)s, whose balance is %(balance)s.") % {
            "amount": amount_text(granted.amount),
            "account": account.username,
            "balance": amount_text(granted.balance_after_amount),
        }

    def perform(data: Mapping[str, Any]) -> Any:
        call = operator_actions.keyed_call_with_report(
            request, data, action=f"grant points to {account.pk}", describe=describe
        )
        wanted = {"user_id": account.pk, "amount": data["amount"], "reason": data["reason"], "keyed": call}
        try:
            return points_grants.grant(**wanted)
        except NotAllowed as error:
            if error.code != points_grants.APPROVAL_REQUIRED:
                raise
            return points_grants.ask_to_grant(**wanted)

    return Action(
        title=gettext("Grant points to %(account)s") % {"account": account.username},
        description=gettext("Adds points to the account's wallet, paid by the shop."),
        submit=gettext("Grant"),
        form_class=GrantPointsForm,
        preview=preview,
        perform=perform,
        report=describe,
        back=page_of(account),
    )


@account_action(_("Sign out everywhere"), "logout", _may_disable)
def sign_out(request: HttpRequest, account: User) -> Action:
    def report(_: object) -> str:
        done = gettext("%(account)s is signed out everywhere.") % {"account": account.username}
        return f"{done} {SIGNED_OUT}"

    ending = gettext(
        "All tokens, sessions and API keys that it has now end. It may sign in again at once, with its "
        "password: set another one first if that may be known."
    )
    again = gettext("The customer has to sign in again on every device.")
    return Action(
        title=gettext("Sign %(account)s out everywhere") % {"account": account.username},
        description=f"{ending} {SIGNED_OUT} {again}",
        submit=gettext("Sign out everywhere"),
        perform=lambda data: sign_outs.sign_out_everywhere(account_id=account.pk, reason=data["reason"]),
        report=report,
        once=f"sign out {account.pk}",
        back=page_of(account),
        is_dangerous=True,
    )


@account_action(
    _("Disable"),
    "block",
    _may_disable_other,
    is_useful=lambda request, account: account.is_active,
    variant="danger",
)
def disable(request: HttpRequest, account: User) -> Action:
    name = {"account": account.username}

    def report(count: int) -> str:
        if not count:
            return gettext("%(account)s was disabled already; nothing was done.") % name
        return gettext("%(account)s is disabled: its tokens are refused within five seconds.") % name

    stays = gettext(
        "A disabled account can't sign in, and its tokens are refused within five seconds. Its orders, "
        "coupons and points stay."
    )
    go_on = gettext("Orders that are being paid go on; unpaid ones expire.")
    return Action(
        title=gettext("Disable %(account)s") % name,
        description=f"{stays} {go_on}",
        submit=gettext("Disable"),
        perform=lambda data: accounts.disable(
            account_ids=[account.pk], keeping={request.user.pk}, reason=data["reason"]
        ),
        report=report,
        once=f"disable {account.pk}",
        back=page_of(account),
        is_dangerous=True,
    )


@account_action(
    _("Enable"), "check", _may_disable_other, is_useful=lambda request, account: not account.is_active
)
def enable(request: HttpRequest, account: User) -> Action:
    name = {"account": account.username}

    def report(count: int) -> str:
        if not count:
            return gettext("%(account)s was enabled already; nothing was done.") % name
        return gettext("%(account)s is enabled: it can sign in, and is accepted within five seconds.") % name

    return Action(
        title=gettext("Enable %(account)s") % name,
        description=gettext(
            "The account can sign in again, and tokens that have not expired work again: sign it out "
            "everywhere first if others may have them. So do the API keys that it has made: revoke them "
            "first if others may have them."
        ),
        submit=gettext("Enable"),
        perform=lambda data: accounts.enable(account_ids=[account.pk], reason=data["reason"]),
        report=report,
        once=f"enable {account.pk}",
        back=page_of(account),
    )


def page_of(account: User) -> str:
    """The address of the account's page."""
    return reverse("account-page", args=[account.pk])


def _discount_text(campaign: Any) -> str:
    if campaign.discount_type == campaign.DiscountType.PERCENT:
        return f"{campaign.discount_value} %"
    return amount_text(campaign.discount_value)
