"""Allocates a campaign's slots to a batch of requests: reads, decides in their order, writes the new ones.

Every strategy ends here. A batch of any size takes four statements under the campaign's lock, or six for a
campaign with a pool. A partner and listed accounts cost one more each. A batch that issues nothing takes one.
Rows and the order of their locks are in `coupons.rows`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial

from accounts import accounts
from coupons import eligibility, rows, slots
from coupons.allocation import outcomes
from coupons.allocation.outcomes import AllocationResult, Issued, IssueRequest, Slot
from coupons.codes import code_format
from coupons.metrics import counters
from coupons.models import Campaign, Confirmation, Coupon
from coupons.rows import AccountIds
from foundation import clock, journal
from foundation.db import open_transaction
from foundation.db.stuck_rows import Row
from foundation.errors import Rejected
from foundation.journal import ActorContext

# The request that took the slot calls the partner for this long; then the sweeper takes over.
CALLER_LEASE_SECONDS = 5
AssignedCodes = Mapping[int, str]
"""The codes assigned to accounts, by account, in the order of their positions."""


class Applicants:
    """The accounts that ask for a campaign's coupons, as they were read with it, and the rules for them.

    `existing` has their coupons, or the confirmations of their slots, by account. Every strategy, and every
    answer from memory, decides by `refusal`, by the campaign's `state`. `rows.issues_at` and `rows.lets_in`
    are the same rules as conditions on the campaign's row; a test compares the two.
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
        self.state = campaign.state
        self.now = now or clock.now()
        self.existing = rows.existing_coupons(campaign, user_ids, coupons=coupons)
        self._listed = None
        if campaign.eligible == Campaign.Eligible.LISTED:
            without_coupon = set(user_ids) - self.existing.keys()
            self._listed = cache(partial(rows.listed_accounts, campaign.pk, without_coupon))

    def answer(self, user_id: int) -> AllocationResult | None:
        """The result of the account's coupon or confirmation, else its refusal; None when it is eligible."""
        existing = self.existing.get(user_id)
        return outcomes.existing_result(existing) if existing else self.refusal(user_id)

    def refusal(self, user_id: int) -> Rejected | None:
        """Why the account, which has no coupon, can't get one of the campaign; None when it is eligible."""
        return eligibility.refusal(self.state, user_id, now=self.now, listed=self._listed)


def lock_campaign(campaign_id: int, user_ids: AccountIds) -> Applicants:
    """The campaign, locked until the transaction ends, and these accounts, by one statement."""
    open_transaction.assert_inside()
    campaign, coupons = rows.read_campaign(campaign_id, user_ids, lock=True)
    return Applicants(campaign, user_ids, coupons=coupons)


def read_campaign(campaign_id: int, user_ids: AccountIds) -> Applicants:
    """The campaign and these accounts without a lock, as they were at one instant."""
    campaign, coupons = rows.read_campaign(campaign_id, user_ids)
    # A confirmation may become a coupon between two reads, so confirmations must be read first.
    return Applicants(campaign, user_ids, coupons=None if campaign.partner else coupons)


def locked_rows(campaign_id: int, request: IssueRequest) -> list[Row]:
    """The rows that issuing locks; a connection that keeps one of them locked delays the request."""
    return [Row(Campaign, campaign_id), accounts.referenced_row(request.user_id)]


def lock_and_allocate(*, campaign_id: int, requests: Sequence[IssueRequest]) -> list[AllocationResult]:
    """Lock the campaign, then decide these requests in their order and write the new coupons.

    Must be called inside a transaction; safe to repeat after a rollback. Returns one result for each request,
    refusals as values.
    """
    return allocate(lock_campaign(campaign_id, {request.user_id for request in requests}), requests)


def allocate(
    applicants: Applicants, requests: Sequence[IssueRequest], *, if_unchanged: bool = False
) -> list[AllocationResult]:
    """`lock_and_allocate` for what the caller has read: under the campaign's lock, or else `if_unchanged`.

    That raises `transactions.ChangedMeanwhile` if a new coupon would be written, but the campaign has changed
    since.
    """
    campaign = applicants.campaign
    first_of = {request.user_id: request for request in reversed(requests)}
    asking = [request.user_id for request in requests]
    takers, refusals = slots.decide(
        asking, applicants.existing, applicants.refusal, remaining=campaign.remaining
    )
    new: dict[int, Slot] = {}
    if takers:
        taking = [first_of[user_id] for user_id in takers]
        chosen = assign_codes(campaign, taking, if_unchanged=if_unchanged)
        if chosen:
            rows.count_taken_slots(campaign, len(chosen), if_unchanged=if_unchanged)
            applicants.state = campaign.state
            by = {request.user_id: request.by for request in taking}
            new = write_slots(campaign, chosen, by=by, now=applicants.now)
        for user_id, code in chosen.items():
            first_of[user_id].written.append(code)

    def result_of(request: IssueRequest) -> AllocationResult:
        # Each gets an error object of its own, because raising one adds a traceback.
        user_id = request.user_id
        if user_id in new:
            # To another request of the account in this batch the slot is an existing one.
            return new[user_id] if request is first_of[user_id] else new[user_id]._replace(is_new=False)
        if user_id not in applicants.existing:
            refused = refusals.pop(user_id, None) or applicants.refusal(user_id)
            return refused or eligibility.sold_out(campaign.name)
        found = outcomes.existing_result(applicants.existing[user_id])
        if isinstance(found, Issued) and found.coupon.code in request.written:
            # An attempt at this request wrote it, and the reply to its COMMIT was lost.
            return Issued(found.coupon, is_new=True)
        return found

    return [result_of(request) for request in requests]


def assign_codes(
    campaign: Campaign, requests: Sequence[IssueRequest], *, if_unchanged: bool = False
) -> AssignedCodes:
    """Assign a code to each of these requests, or to the first of them when the pool runs out.

    A request that claimed a code gets it if it is available. The others get codes that the pool has left.
    The campaign's row must be locked, unless `if_unchanged` is given: see `rows.update_counters`.
    """
    if campaign.code_source != Campaign.CodeSource.POOL:
        made = code_format.make_several(len(requests))
        return {request.user_id: code for request, code in zip(requests, made, strict=True)}
    if if_unchanged:
        # The request that holds the row would skip codes that this one locks while it waits for the row. It
        # could find the pool empty although it isn't.
        rows.lock_unchanged(campaign)
    claims = [(request.user_id, request.code) for request in requests]
    free = rows.lock_codes(campaign_id=campaign.pk, codes={code for _, code in claims if code})
    missing = len(requests) - len(free)
    others: Sequence[str] = ()
    if missing:
        # Without the locked ones, which would be assigned twice.
        others = rows.lock_available_codes(campaign_id=campaign.pk, count=missing, but=free)
    return slots.assign_codes(claims, free, others)


def write_slots(
    campaign: Campaign, chosen: AssignedCodes, *, by: Mapping[int, ActorContext], now: datetime
) -> dict[int, Slot]:
    """Write coupons or confirmations for these accounts: the last slots counted on this campaign object."""
    open_transaction.assert_inside()
    if campaign.partner:
        return _write_confirmations(campaign, chosen, now)
    first = slots.first_position(campaign.issued, len(chosen))
    coupons = [
        rows.new_coupon(campaign, user_id, code, position, now)
        for position, (user_id, code) in enumerate(chosen.items(), start=first)
    ]
    write_coupons(coupons, by=by)
    return {coupon.account_id: Issued(coupon, is_new=True) for coupon in coupons}


def _write_confirmations(campaign: Campaign, chosen: AssignedCodes, now: datetime) -> dict[int, Slot]:
    """Write a confirmation for each of these accounts; the request that took the slot calls the partner."""
    confirmations = [
        Confirmation(
            campaign=campaign,
            account_id=user_id,
            code=code,
            taken_at=now,
            next_attempt_at=now + timedelta(seconds=CALLER_LEASE_SECONDS),
        )
        for user_id, code in chosen.items()
    ]
    Confirmation.objects.bulk_create(confirmations)
    if campaign.code_source == Campaign.CodeSource.POOL:
        rows.mark_codes_in_flight([confirmation.code for confirmation in confirmations])
    return {row.account_id: outcomes.pending_confirmation(row, is_new=True) for row in confirmations}


def write_coupons(coupons: Sequence[Coupon], *, by: Mapping[int, ActorContext]) -> None:
    """Write these new coupons of one campaign, the status of their pool codes, and their journal lines."""
    rows.insert_coupons(coupons)
    if coupons[0].campaign.code_source == Campaign.CodeSource.POOL:
        rows.mark_codes_issued([coupon.code for coupon in coupons])
    note_issued([(coupon, by[coupon.account_id]) for coupon in coupons])


def note_issued(issued: Sequence[tuple[Coupon, ActorContext]]) -> None:
    """Record new coupons in the journal, each under its actor; which are events."""
    lines = [
        journal.build_line(
            what="coupon.issued",
            subject=f"coupon {coupon.code}",
            after={
                "coupon": coupon.code,
                "campaign": coupon.campaign_id,
                "account": coupon.account_id,
                "position": coupon.position,
                "status": coupon.status,
            },
            at=coupon.issued_at,
            by=by,
        )
        for coupon, by in issued
    ]
    journal.note_all(lines)
    new = [(coupon.campaign_id, counters.ISSUED) for coupon, _ in issued]
    open_transaction.count_after_commit(counters.count_outcomes, new)
