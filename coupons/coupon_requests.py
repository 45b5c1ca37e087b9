"""Finds the coupon that each order of a batch names: by its own code, or by a campaign's shared code.

A shared code stands for the account's own coupon of the campaign. An account that has none yet gets one with
its order, decided by `coupons.eligibility` under the campaign's lock, and inserted as held. These
functions are the parts of an order's transaction, as those of `coupons.holding` are.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, cast
from uuid import UUID

from coupons import holding, redemption, rows
from coupons.allocation import allocating
from coupons.allocation.allocating import Applicants
from coupons.codes import code_format
from coupons.models import Campaign, Coupon
from foundation import clock
from foundation.db import open_transaction
from foundation.db.stuck_rows import Row
from foundation.journal import ActorContext


class CouponRequest(NamedTuple):
    """An account, and the code that its order names."""

    account_id: int
    code: str


@dataclass(slots=True)
class SharedCampaign:
    """A campaign with a shared code, and the coupons of the batch's accounts, with those that are new.

    `spare_codes` are for new coupons. One that issued nothing when it was read was not locked for that, and
    refuses as it did then.
    """

    applicants: Applicants
    is_locked: bool
    spare_codes: list[str] = field(default_factory=list)
    new: list[Coupon] = field(default_factory=list)
    coupons: dict[int, Coupon] = field(init=False)
    campaign: Campaign = field(init=False)

    def __post_init__(self) -> None:
        # A partner confirms none of a shared code.
        self.coupons = cast(dict[int, Coupon], self.applicants.existing)
        self.campaign = self.applicants.campaign


@dataclass(slots=True)
class BatchCoupons:
    """The coupons that the orders of a batch may use, as `read` found them.

    `products` are those of campaigns that are limited to some, `held` the coupons that orders have taken.
    """

    by_code: dict[str, Coupon] = field(default_factory=dict)
    shared: dict[str, SharedCampaign] = field(default_factory=dict)
    products: dict[int, frozenset[int]] = field(default_factory=dict)
    held: list[tuple[Coupon, UUID]] = field(default_factory=list)


def read(requests: Collection[CouponRequest], *, lock_campaigns: bool, lock_coupons: bool) -> BatchCoupons:
    """Find what these requests name, with the campaigns, in the project's lock order.

    Only a campaign whose shared code is named, and which may issue, is locked. What is read without a lock is
    compared by `write`.
    """
    if not requests:
        return BatchCoupons()
    found = rows.find_by_code({request.code for request in requests})
    unresolved = {code for account_id, code in requests if not _is_owner(found.get(code), account_id)}
    shared = dict(_read_shared(unresolved, requests, lock=lock_campaigns)) if unresolved else {}
    of_accounts = [coupon for one in shared.values() for coupon in one.coupons.values()]
    locked = rows.lock_found([*found.values(), *of_accounts]) if lock_coupons else {}
    found = {code: locked.get(coupon.pk, coupon) for code, coupon in found.items()}
    for one in shared.values():
        # One object for a coupon that two orders name, by its own code and by the shared one.
        one.coupons = {
            id: found.get(coupon.code) or locked.get(coupon.pk, coupon) for id, coupon in one.coupons.items()
        }
    campaigns = [coupon.campaign for coupon in found.values()] + [one.campaign for one in shared.values()]
    limited = {campaign.pk for campaign in campaigns if campaign.is_limited_to_products}
    # They can't change once a coupon is issued.
    products = rows.discounted_products(limited) if limited else {}
    return BatchCoupons(by_code=found, shared=shared, products=products)


def locked_rows(request: CouponRequest) -> list[Row]:
    """The rows that this request locks: those of a coupon or a campaign, whichever has the code."""
    return [holding.locked_row(request.code), Row(Campaign, request.code, column="shared_code")]


def find_usable(coupons: BatchCoupons, request: CouponRequest, *, now: datetime) -> Coupon:
    """The coupon that the request names, which is new if its account has none of a shared code's campaign.

    A new one becomes real by `mark_held` and `write`. Raises `Rejected` `coupon_not_usable` with `reason`:
    `not_found`, also before a shared code's campaign opens, so that nobody learns its code;
    `campaign_closed`, `campaign_paused`, `sold_out` or `not_eligible` for a new one; and as
    `redemption.require_issued`.
    """
    own = coupons.by_code.get(request.code)
    shared = coupons.shared.get(request.code)
    if not _is_owner(own, request.account_id):
        if shared is None:
            raise redemption.not_usable("not_found")
        own = shared.coupons.get(request.account_id) or _new_coupon(shared, request.account_id, now)
    assert own is not None
    redemption.require_issued(own.status, own.expires_at, now=now)
    return own


def discounted_amounts(
    coupons: BatchCoupons, coupon: Coupon, *, product_ids: Sequence[int], line_amounts: Sequence[int]
) -> list[int]:
    """The amounts of an order's lines that the coupon's discount counts over: 0 for the lines of others.

    Raises `Rejected` `coupon_not_usable` with the reason `no_eligible_item` if there is no such line.
    """
    products = coupons.products.get(coupon.campaign_id)
    return redemption.discounted_amounts(products, product_ids=product_ids, line_amounts=line_amounts)


def accounts_of_first_orders(coupons: BatchCoupons, requests: Iterable[CouponRequest]) -> set[int]:
    """The accounts whose requests name a coupon of a campaign for first orders."""
    named = {code: coupon.campaign for code, coupon in coupons.by_code.items()}
    named |= {code: one.campaign for code, one in coupons.shared.items()}
    return {id for id, code in requests if code in named and named[code].first_order_only}


def mark_held(coupons: BatchCoupons, coupon: Coupon, *, order_id: UUID, by: ActorContext) -> None:
    """Have the order, of this actor, hold the coupon in memory and in the journal: `write` writes it."""
    if coupon.pk is None:
        shared = coupons.shared[coupon.campaign.shared_code or ""]
        shared.spare_codes.pop()
        shared.new.append(coupon)
        shared.coupons[coupon.account_id] = coupon
        allocating.note_issued([(coupon, by)])
    holding.mark_held(coupon, order_id=order_id, by=by)
    coupons.held.append((coupon, order_id))


def write(coupons: BatchCoupons) -> None:
    """Write the coupons that `mark_held` has marked, after their orders.

    Raises `transactions.ChangedMeanwhile` if a campaign or a coupon has changed that was read without a lock.
    """
    open_transaction.assert_inside()
    orders = {id(coupon): order_id for coupon, order_id in coupons.held}
    for one in sorted(coupons.shared.values(), key=lambda one: one.campaign.pk):
        if one.new:
            # First the campaign's row, which the coupons refer to.
            rows.count_taken_slots(one.campaign, len(one.new), if_unchanged=not one.is_locked)
            for coupon in one.new:
                coupon.order_id = orders[id(coupon)]
            rows.insert_coupons(one.new)
    rows.hold({coupon: order_id for coupon, order_id in coupons.held if coupon.pk is not None})


def _is_owner(coupon: Coupon | None, account_id: int) -> bool:
    return coupon is not None and coupon.account_id == account_id


def _read_shared(
    unresolved: Collection[str], requests: Collection[CouponRequest], *, lock: bool
) -> Iterator[tuple[str, SharedCampaign]]:
    """The campaigns with these shared codes, by id; one that issues nothing is not locked, only refuses."""
    now = clock.now()
    for seen in rows.shared_campaigns(unresolved):
        account_ids = {account_id for account_id, code in requests if code == seen.shared_code}
        if lock and seen.status_at(now) != Campaign.Status.OPEN:
            applicants = Applicants(seen, account_ids, now=now)
            yield seen.shared_code or "", SharedCampaign(applicants, is_locked=False)
            continue
        read_or_lock = allocating.lock_campaign if lock else allocating.read_campaign
        applicants = read_or_lock(seen.pk, account_ids)
        # The code may have been changed before the lock was granted.
        if applicants.campaign.shared_code == seen.shared_code:
            spare_codes = code_format.make_several(len(account_ids - applicants.existing.keys()))
            yield seen.shared_code or "", SharedCampaign(applicants, lock, spare_codes)


def _new_coupon(shared: SharedCampaign, account_id: int, now: datetime) -> Coupon:
    """The coupon that the account gets if its order is placed. Raises `coupon_not_usable`."""
    campaign = shared.campaign
    if shared.spare_codes:
        # Later locks of the batch may have taken a while. One that issued nothing refuses as it did then.
        shared.applicants.now = now
    refused = shared.applicants.refusal(account_id)
    redemption.require_new(shared.applicants.state, refused, new=len(shared.new), now=shared.applicants.now)
    position = campaign.issued + len(shared.new) + 1
    return rows.new_coupon(campaign, account_id, shared.spare_codes[-1], position, now)
