"""Decides whether each request gets a new coupon, its existing one or a refusal, and allocates new ones.

Every strategy that locks the campaign's row ends here. Whatever its size, a batch takes four statements, six
for a campaign with a pool, one more with a partner or with listed accounts, and one if nothing is issued.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from math import ceil

from django.db.models import Exists, F, OuterRef, Q

from accounts import accounts
from coupons.allocation import writes
from coupons.allocation.writes import Issued, IssueRequest, Slot
from coupons.models import Campaign, Confirmation, Coupon, EligibleAccount
from foundation import clock
from foundation.db import bulk_sql, open_transaction
from foundation.db.stuck_rows import Row
from foundation.errors import FirstcomeError, Rejected, Unavailable
from foundation.lazy_texts import mark as _

# Only the inner SELECT locks: an order that holds a coupon does not delay requests for the campaign. The
# coupons are read after the lock is granted, so they include those of the transaction that held it before.
READ_CAMPAIGN_AND_COUPONS = """
SELECT {campaign}, {coupon} FROM (SELECT * FROM coupons_campaign WHERE id = {id:d}{for_update}) campaign
LEFT JOIN coupons_coupon coupon ON coupon.campaign_id = campaign.id AND coupon.account_id IN ({accounts})
"""

AllocationResult = Slot | FirstcomeError
AccountIds = Collection[int]


class Applicants:
    """The accounts that ask for a campaign's coupons, as they were read with it, and the rules for them.

    `existing` has their coupons, or the confirmations of their slots, by account. Every strategy, and every
    answer from memory, decides by `refusal`; `issues_at` and `lets_in` are the same rules as conditions on
    the campaign's row: a test compares the two.
    """

    def __init__(
        self,
        campaign: Campaign,
        user_ids: AccountIds,
        *,
        coupons: Mapping[int, Coupon] | None = None,
        now: datetime | None = None,
    ) -> None:
        """`coupons` are the accounts' coupons, if they were read with the campaign."""
        self.campaign = campaign
        self.now = now or clock.now()
        self.existing = existing_coupons(campaign, user_ids, coupons=coupons)
        self._without_coupon = set(user_ids) - self.existing.keys()

    @cached_property
    def _listed(self) -> AccountIds:
        return listed_accounts(self.campaign, self._without_coupon)

    def answer(self, user_id: int) -> "AllocationResult | None":
        """The result of the account's coupon or confirmation, else its refusal; None when it is eligible."""
        existing = self.existing.get(user_id)
        return existing_result(existing) if existing else self.refusal(user_id)

    def refusal(self, user_id: int) -> Rejected | None:
        """Why the account, which has no coupon, can't get one of the campaign; None when it is eligible.

        Conditions that query come last: the event loop asks for an account of a campaign that is full.
        """
        campaign = self.campaign
        name = self.campaign.name
        match campaign.status_at(self.now):
            case Campaign.Status.SCHEDULED:
                text = _("{campaign} opens at {time}.", campaign=name, time=campaign.opens_at.isoformat())
                seconds = ceil((campaign.opens_at - self.now).total_seconds())
                return Rejected(text, code="campaign_not_open", retry_after=seconds)
            case Campaign.Status.PAUSED:
                return paused_refusal(campaign)
            case Campaign.Status.AWAITING_CODES:
                text = _("{campaign} has no codes yet. Try again later.", campaign=name)
                return Rejected(text, code="campaign_not_open")
            case Campaign.Status.CLOSED:
                return Rejected(_("{campaign} is closed.", campaign=name), code="campaign_closed")
            case Campaign.Status.SOLD_OUT:
                return sold_out_refusal(campaign)
        if user_id in self._listed:
            return None
        text = _("{campaign} is for listed accounts, and this one is not listed.", campaign=name)
        return Rejected(text, code="not_eligible")


def lets_in(user_id: int) -> Q:
    """What `refusal` demands of an account's place in the list, as a condition on the campaign's row."""
    listed = EligibleAccount.objects.filter(campaign_id=OuterRef("pk"), account_id=user_id)
    return Q(eligible=Campaign.Eligible.ALL) | Q(Exists(listed))


def issues_at(now: datetime) -> Q:
    """What `refusal` demands of a campaign's own terms but its pool, as a condition on its row."""
    is_running = Q(opens_at__lte=now, paused_at__isnull=True) & Campaign.not_closed_at(now)
    return is_running & (Q(quantity__isnull=True) | Q(quantity__gt=F("issued") + F("confirming")))


def is_paused(now: datetime) -> Q:
    """Which campaigns have the status `paused`, as a condition on their rows."""
    return Q(paused_at__isnull=False) & Campaign.not_closed_at(now)


def paused_refusal(campaign: Campaign) -> Rejected:
    """The refusal while the campaign is paused; only an operator can say when it goes on."""
    detail = _(
        "{campaign} is paused: no coupons are issued for now. Try again later.", campaign=campaign.name
    )
    return Rejected(detail, code="campaign_paused")


def sold_out_refusal(campaign: Campaign) -> Rejected:
    """The refusal when every slot is taken, or the pool has no code left."""
    return Rejected(_("{campaign} is sold out.", campaign=campaign.name), code="sold_out")


def lock_and_allocate(*, campaign_id: int, requests: Sequence[IssueRequest]) -> list[AllocationResult]:
    """Lock the campaign, then decide these requests in their order and write the new coupons.

    Must be called inside a transaction; safe to repeat after a rollback. Returns one result for each request,
    refusals as values.
    """
    return allocate(lock_campaign(campaign_id, {request.user_id for request in requests}), requests)


def locked_rows(campaign_id: int, request: IssueRequest) -> list[Row]:
    """The rows that issuing locks; a connection that keeps one of them locked delays the request."""
    return [Row(Campaign, campaign_id), accounts.referenced_row(request.user_id)]


def allocate(
    applicants: Applicants, requests: Sequence[IssueRequest], *, if_unchanged: bool = False
) -> list[AllocationResult]:
    """`lock_and_allocate` for what the caller has read: under the campaign's lock, or else `if_unchanged`.

    That raises `transactions.ChangedMeanwhile` if the campaign has changed since it was read and a new coupon
    would be written.
    """
    campaign = applicants.campaign
    first_of = {request.user_id: request for request in reversed(requests)}
    asking = dict.fromkeys(request.user_id for request in requests)
    refusals = {
        user_id: applicants.refusal(user_id) for user_id in asking if user_id not in applicants.existing
    }
    eligible = [first_of[user_id] for user_id, refused in refusals.items() if not refused]
    new: dict[int, Slot] = {}
    if eligible:
        codes = writes.assign_codes(campaign, eligible[: campaign.remaining], if_unchanged=if_unchanged)
        if codes:
            writes.count_taken_slots(campaign, len(codes), if_unchanged=if_unchanged)
        by = {request.user_id: request.by for request in eligible}
        new = writes.write_slots(campaign, codes, by=by, now=applicants.now)
        for user_id, code in codes.items():
            first_of[user_id].written.append(code)

    def result_of(request: IssueRequest) -> AllocationResult:
        # Each gets an error object of its own, because raising one adds a traceback.
        user_id = request.user_id
        if user_id in new:
            # To another request of the account in this batch the slot is an existing one.
            return new[user_id] if request is first_of[user_id] else new[user_id]._replace(is_new=False)
        if user_id not in applicants.existing:
            return refusals.pop(user_id, None) or applicants.refusal(user_id) or sold_out_refusal(campaign)
        found = existing_result(applicants.existing[user_id])
        if isinstance(found, Issued) and found.coupon.code in request.written:
            # An attempt at this request wrote it, and the reply to its COMMIT was lost.
            return Issued(found.coupon, is_new=True)
        return found

    return [result_of(request) for request in requests]


def unwrap(outcome: AllocationResult) -> Slot:
    """Return the result; raise it if it is a refusal."""
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def lock_campaign(campaign_id: int, user_ids: AccountIds) -> Applicants:
    """The campaign, locked until the transaction ends, and these accounts, by one statement."""
    open_transaction.assert_inside()
    campaign, coupons = _read_campaign(campaign_id, user_ids, bulk_sql.for_update())
    return Applicants(campaign, user_ids, coupons=coupons)


def read_campaign(campaign_id: int, user_ids: AccountIds) -> Applicants:
    """The campaign and these accounts without a lock, as they were at one instant."""
    campaign, coupons = _read_campaign(campaign_id, user_ids, "")
    # A confirmation may become a coupon between two reads, so confirmations must be read first.
    return Applicants(campaign, user_ids, coupons=None if campaign.partner else coupons)


def _read_campaign(
    campaign_id: int, user_ids: AccountIds, for_update: str
) -> tuple[Campaign, dict[int, Coupon]]:
    campaigns = bulk_sql.reader(Campaign, alias="campaign")
    coupons = bulk_sql.reader(Coupon, alias="coupon")
    statement = READ_CAMPAIGN_AND_COUPONS.format(
        campaign=campaigns.selected,
        coupon=coupons.selected,
        id=campaign_id,
        for_update=for_update,
        accounts=bulk_sql.integer_list(user_ids),
    )
    found = bulk_sql.fetch(statement)
    if not found:
        raise Campaign.DoesNotExist(f"There is no campaign {campaign_id}.")
    width = len(campaigns.names)
    campaign = campaigns.to_model(found[0][:width])
    existing = [coupons.to_model(row[width:]) for row in found if row[width] is not None]
    for coupon in existing:
        coupon.campaign = campaign
    return campaign, {coupon.account_id: coupon for coupon in existing}


def existing_coupons(
    campaign: Campaign, user_ids: AccountIds, *, coupons: Mapping[int, Coupon] | None = None
) -> dict[int, Coupon | Confirmation]:
    """The coupons of these accounts, or the confirmations of their slots, by account.

    Confirmations are read first: one may become a coupon meanwhile, but not under the campaign's lock.
    """
    confirmations = campaign.confirmations.filter(account_id__in=user_ids) if campaign.partner else ()
    existing: dict[int, Coupon | Confirmation] = {one.account_id: one for one in confirmations}
    if coupons is None:
        coupons = {one.account_id: one for one in campaign.coupons.filter(account_id__in=user_ids)}
    return {**existing, **coupons}


def existing_result(existing: Coupon | Confirmation) -> AllocationResult:
    """The result of a request whose account already has this coupon or confirmation."""
    if isinstance(existing, Coupon):
        return existing_coupon_result(existing)
    if existing.is_cancelled:
        return Unavailable(
            _("The partner didn't confirm in time; the coupon is being cancelled there. Try again.")
        )
    return writes.pending_confirmation(existing)


def existing_coupon_result(coupon: Coupon) -> Issued | Rejected:
    """The result of a request whose account already has this coupon."""
    if coupon.status == Coupon.Status.VOID:
        return Rejected(_("This account's coupon of the campaign was made void."), code="coupon_void")
    return Issued(coupon, is_new=False)


def listed_accounts(campaign: Campaign, user_ids: AccountIds) -> AccountIds:
    """Those of these accounts that the campaign's list lets in: all of them, unless its accounts are listed.

    Exact after the campaign was locked, or read with a version that the write requires.
    """
    if campaign.eligible == Campaign.Eligible.ALL or not user_ids:
        return user_ids
    rows = EligibleAccount.objects.filter(campaign_id=campaign.pk, account_id__in=set(user_ids))
    return set(rows.values_list("account_id", flat=True))
