"""Decides whether each request gets a new coupon, its existing one or a refusal, and allocates new ones.

Every strategy that locks the campaign's row ends here, with one request or with a batch. Whatever its size, a
batch takes four statements, six for a campaign with a pool, one more with a partner or with listed accounts,
and one in all when no request gets anything new.
"""

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q

from coupons.allocation import writes
from coupons.allocation.writes import AssignedCodes, Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon
from coupons.restriction_models import EligibleAccount
from shop import clock
from shop.accounts import accounts
from shop.db import bulk_sql, open_transaction
from shop.db.stuck_rows import Row
from shop.errors import FirstcomeError, Rejected, Unavailable
from shop.lazy_texts import mark as _

# Only the inner SELECT locks: an order that holds a coupon does not delay requests for the campaign. The
# coupons are read after the lock is granted, so they include those of the transaction that held it before.
READ_CAMPAIGN_AND_COUPONS = """
SELECT {campaign}, {coupon} FROM (SELECT * FROM coupons_campaign WHERE id = {id:d}{for_update}) campaign
LEFT JOIN coupons_coupon coupon ON coupon.campaign_id = campaign.id AND coupon.account_id IN ({accounts})
"""

AllocationResult = Issued | PendingConfirmation | FirstcomeError
CodeAssigner = Callable[[Campaign, Sequence[IssueRequest]], AssignedCodes]


def lock_and_allocate(
    *, campaign_id: int, requests: Sequence[IssueRequest], choose: CodeAssigner = writes.assign_codes
) -> list[AllocationResult]:
    """Lock the campaign, then decide these requests in their order and write the new coupons.

    Must be called inside a transaction; safe to repeat after a rollback. Returns one result for each request,
    refusals as values. `choose` assigns codes to the eligible requests; those without one are `sold_out`.
    """
    campaign, coupons = lock_campaign(campaign_id, {request.user_id for request in requests})
    return allocate(campaign, requests, choose=choose, coupons=coupons)


def locked_rows(campaign_id: int, request: IssueRequest) -> list[Row]:
    """The rows that issuing locks; a connection that keeps one of them locked delays the request."""
    return [Row(Campaign, campaign_id), accounts.referenced_row(request.user_id)]


def allocate(
    campaign: Campaign,
    requests: Sequence[IssueRequest],
    *,
    choose: CodeAssigner = writes.assign_codes,
    coupons: Mapping[int, Coupon] | None = None,
    if_unchanged: bool = False,
) -> list[AllocationResult]:
    """`lock_and_allocate` for a campaign that the caller has read: under a lock, or else with `if_unchanged`.

    That raises `transactions.ChangedMeanwhile` if the campaign has changed since it was read and a new coupon
    would be written. `coupons` are the accounts' existing ones, if they were read with the campaign.
    """
    now = clock.now()
    existing = existing_coupons(campaign, {request.user_id for request in requests}, coupons=coupons)
    first_of = {request.user_id: request for request in reversed(requests)}
    without = [id for id in dict.fromkeys(request.user_id for request in requests) if id not in existing]
    listed = listed_accounts(campaign, without)
    refusals = {user_id: refusal(campaign, user_id, now, listed=listed) for user_id in without}
    eligible = [first_of[user_id] for user_id, refused in refusals.items() if not refused]
    new: dict[int, Issued | PendingConfirmation] = {}
    if eligible:
        codes = choose(campaign, eligible[: campaign.remaining])
        if codes:
            writes.count_taken_slots(campaign, len(codes), if_unchanged=if_unchanged)
        by = {request.user_id: request.by for request in eligible}
        new = writes.write_slots(campaign, codes, by=by, now=now)
        for user_id, code in codes.items():
            first_of[user_id].written.append(code)
    return [_result_for(campaign, request, existing, new, refusals, now, listed) for request in requests]


def unwrap(outcome: AllocationResult) -> Issued | PendingConfirmation:
    """Return the result; raise it if it is a refusal."""
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def answer_without_lock(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation | None:
    """The account's existing coupon or pending confirmation; None when it is eligible, which needs a lock.

    Raises `refusal`'s refusal, and `coupon_void` for a void coupon.
    """
    campaign = Campaign.objects.get(pk=campaign_id)
    existing = existing_coupons(campaign, [user_id]).get(user_id)
    answer = existing_result_or_refusal(
        campaign, user_id, existing, clock.now(), listed=listed_accounts(campaign, [user_id])
    )
    return unwrap(answer) if answer else None


def lock_campaign(campaign_id: int, user_ids: Collection[int]) -> tuple[Campaign, dict[int, Coupon]]:
    """The campaign, locked until the transaction ends, and the coupons of these accounts, by account.

    Raises `Campaign.DoesNotExist`.
    """
    open_transaction.assert_inside()
    return _read_campaign(campaign_id, user_ids, bulk_sql.for_update())


def read_campaign(campaign_id: int, user_ids: Collection[int]) -> tuple[Campaign, dict[int, Coupon]]:
    """The campaign and these accounts' coupons without a lock, as they were at one instant."""
    return _read_campaign(campaign_id, user_ids, "")


def _read_campaign(
    campaign_id: int, user_ids: Collection[int], for_update: str
) -> tuple[Campaign, dict[int, Coupon]]:
    campaigns, coupons = (
        bulk_sql.reader(Campaign, alias="campaign"),
        bulk_sql.reader(Coupon, alias="coupon"),
    )
    statement = READ_CAMPAIGN_AND_COUPONS.format(
        campaign=campaigns.selected,
        coupon=coupons.selected,
        id=campaign_id,
        for_update=for_update,
        accounts=bulk_sql.integer_list(user_ids),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall()
    if not found:
        raise Campaign.DoesNotExist(f"There is no campaign {campaign_id}.")
    width = len(campaigns.names)
    campaign = campaigns.to_model(found[0][:width])
    existing = [coupons.to_model(row[width:]) for row in found if row[width] is not None]
    for coupon in existing:
        coupon.campaign = campaign
    return campaign, {coupon.account_id: coupon for coupon in existing}


def existing_result_or_refusal(
    campaign: Campaign,
    user_id: int,
    existing: Coupon | Confirmation | None,
    now: datetime,
    *,
    listed: Container[int],
) -> AllocationResult | None:
    """The result of the account's coupon or confirmation, else its refusal; None when it is eligible."""
    if existing:
        return existing_result(campaign, existing)
    return refusal(campaign, user_id, now, listed=listed)


def existing_coupons(
    campaign: Campaign, user_ids: Collection[int], *, coupons: Mapping[int, Coupon] | None = None
) -> dict[int, Coupon | Confirmation]:
    """The coupons of these accounts, or the confirmations of their slots, by account.

    Confirmations are read first, so that one which becomes a coupon meanwhile is seen. `coupons` are those
    that were read under the campaign's lock, where none can become one.
    """
    existing: dict[int, Coupon | Confirmation] = {}
    if campaign.partner:
        for confirmation in campaign.confirmations.filter(account_id__in=user_ids):
            existing[confirmation.account_id] = confirmation
    if coupons is None:
        rows = Coupon.objects.filter(campaign_id=campaign.pk, account_id__in=user_ids)
        coupons = {coupon.account_id: coupon for coupon in rows}
        for coupon in coupons.values():
            coupon.campaign = campaign
    existing.update(coupons)
    return existing


def existing_result(campaign: Campaign, existing: Coupon | Confirmation) -> AllocationResult:
    """The result of a request whose account already has this coupon or confirmation."""
    if isinstance(existing, Coupon):
        return existing_coupon_result(existing)
    if existing.is_cancelled:
        return Unavailable(
            _("The partner didn't confirm in time; the coupon is being cancelled there. Try again.")
        )
    return writes.pending_confirmation(existing, campaign)


def listed_accounts(campaign: Campaign, user_ids: Collection[int]) -> Collection[int]:
    """Those of these accounts that the campaign's list lets in: all of them, unless its accounts are listed.

    Exact if it is called after the campaign was locked, or read with a version that the write requires: every
    change of the list locks the campaign and changes its version (`coupons.eligible_accounts`).
    """
    if campaign.eligible == Campaign.Eligible.ALL or not user_ids:
        return user_ids
    rows = EligibleAccount.objects.filter(campaign_id=campaign.pk, account_id__in=set(user_ids))
    return set(rows.values_list("account_id", flat=True))


def lets_in(user_id: int) -> Q:
    """What `refusal` demands of an account's place in the list, as a condition on the campaign's row."""
    listed = EligibleAccount.objects.filter(campaign_id=OuterRef("pk"), account_id=user_id)
    return Q(eligible=Campaign.Eligible.ALL) | Q(Exists(listed))


def refusal(
    campaign: Campaign, user_id: int, now: datetime, *, listed: Container[int] | None = None
) -> Rejected | None:
    """Why the account can't get a new coupon of the campaign at that instant; None when it is eligible.

    Every strategy, and every answer from memory, decides by this function alone: a new rule goes here. It
    must be cheap: it is mostly called under the campaign's lock. `listed` are the accounts of
    `listed_accounts`, else they are read here. A repeat returns the account's coupon whatever the rules say
    now.
    """
    match campaign.status_at(now):
        case Campaign.Status.SCHEDULED:
            return Rejected(
                _("{campaign} opens at {time}.", campaign=campaign.name, time=campaign.opens_at.isoformat()),
                code="campaign_not_open",
                retry_after=ceil((campaign.opens_at - now).total_seconds()),
            )
        case Campaign.Status.PAUSED:
            return paused(campaign)
        case Campaign.Status.CLOSED:
            return Rejected(_("{campaign} is closed.", campaign=campaign.name), code="campaign_closed")
        case Campaign.Status.SOLD_OUT:
            return sold_out(campaign)
    if user_id not in (listed_accounts(campaign, [user_id]) if listed is None else listed):
        return Rejected(
            _("{campaign} is for listed accounts, and this one is not listed.", campaign=campaign.name),
            code="not_eligible",
        )
    return None


def issues_at(now: datetime) -> Q:
    """What `refusal` demands of a campaign's own terms, as a condition on its row.

    A pool may run out before the quantity does, which the condition doesn't see.
    """
    is_running = Q(opens_at__lte=now, paused_at__isnull=True) & _is_not_closed(now)
    return is_running & Q(quantity__gt=F("issued") + F("confirming"))


def is_paused(now: datetime) -> Q:
    """Which campaigns have the status `paused`, as a condition on their rows."""
    return Q(paused_at__isnull=False) & _is_not_closed(now)


def _is_not_closed(now: datetime) -> Q:
    return Q(closes_at__isnull=True) | Q(closes_at__gt=now)


def paused(campaign: Campaign) -> Rejected:
    """The refusal while the campaign is paused; only an operator can say when it goes on."""
    detail = _(
        "{campaign} is paused: no coupons are issued for now. Try again later.", campaign=campaign.name
    )
    return Rejected(detail, code="campaign_paused")


def sold_out(campaign: Campaign) -> Rejected:
    """The refusal when every slot is taken, or the pool has no code left."""
    return Rejected(_("{campaign} is sold out.", campaign=campaign.name), code="sold_out")


def existing_coupon_result(coupon: Coupon) -> Issued | Rejected:
    """The result of a request whose account already has this coupon."""
    if coupon.status == Coupon.Status.VOID:
        return Rejected(_("This account's coupon of the campaign was made void."), code="coupon_void")
    return Issued(coupon, is_new=False)


def _result_for(
    campaign: Campaign,
    request: IssueRequest,
    existing: dict[int, Coupon | Confirmation],
    new: dict[int, Issued | PendingConfirmation],
    refusals: dict[int, Rejected | None],
    now: datetime,
    listed: Container[int],
) -> AllocationResult:
    """One request's result. Each gets an error object of its own, because raising one adds a traceback."""
    user_id = request.user_id
    result = new.get(user_id)
    if result is None and user_id not in existing:
        refused = refusals.pop(user_id, None) or refusal(campaign, user_id, now, listed=listed)
        return refused or sold_out(campaign)
    if isinstance(result, Issued):
        # To a second request of the account in the same batch, the coupon is an existing one.
        existing[user_id] = result.coupon
        del new[user_id]
    elif isinstance(result, PendingConfirmation):
        new[user_id] = replace(result, is_new=False)
    if result is not None:
        return result
    found = existing_result(campaign, existing[user_id])
    if isinstance(found, Issued) and found.coupon.code in request.written:
        # An attempt at this request wrote it, and the reply to its COMMIT was lost.
        return Issued(found.coupon, is_new=True)
    return found
