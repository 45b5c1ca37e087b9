"""The rows of coupons as their hot transactions read, lock and write them.

Each locks and writes in this order:

- issue: the campaign, with the accounts' coupons read after its lock; its list, read; codes of its pool. Then
  the campaign's counters, before rows that refer to it; coupons, or confirmations; the codes.
- hold, for an order: the campaigns of shared codes by id; coupons by id. After the order's row each
  campaign's counters and new coupons, then all coupons that existed.
- release, redeem, reinstate: coupons by id, after the order and before any account.
- confirm: the campaign, its confirmations by key. Then these are deleted, and the rest is as in issue.

Strategies that lock no row first write `if_unchanged`, by the campaign's version.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from coupons import slots
from coupons.models import Campaign, CampaignProduct, Confirmation, Coupon, EligibleAccount, PoolCode
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.values import Values

AccountIds = Collection[int]
# Plain SQL, because every batch runs it, and batches of orders are small: the ORM takes longer to compile it
# than the database to run it.
# Only the inner SELECT locks: an order that holds a coupon does not delay requests for the campaign. The
# coupons are read after the lock is granted, so they include those of the transaction that held it before.
READ_CAMPAIGN_AND_COUPONS = """
SELECT {campaign}, {coupon} FROM (SELECT * FROM coupons_campaign WHERE id = {id:d}{for_update}) campaign
LEFT JOIN coupons_coupon coupon ON coupon.campaign_id = campaign.id AND coupon.account_id IN ({accounts})
"""
UPDATE_COUNTERS = "UPDATE `coupons_campaign` SET issued = %s, confirming = %s, version = %s WHERE id = %s"
UPDATE_COUNTERS_IF_UNCHANGED = f"{UPDATE_COUNTERS} AND version = %s"
FIND = """
SELECT {coupon}, {campaign} FROM coupons_coupon coupon
JOIN coupons_campaign campaign ON campaign.id = coupon.campaign_id WHERE coupon.code IN ({codes})
"""
HOLD = """
UPDATE coupons_coupon SET status = 'held', order_id = {order_ids}
WHERE id IN ({ids}) AND status = 'issued'
"""
ISSUED = Coupon.Status.ISSUED.value
POOL_CODES = bulk_sql.Table(PoolCode, ("campaign_id", "code", "status", "added_at"))


def read_campaign(
    campaign_id: int, user_ids: AccountIds, *, lock: bool = False
) -> tuple[Campaign, dict[int, Coupon]]:
    """The campaign and these accounts' coupons of it, by account; with `lock` locked first.

    Raises `Campaign.DoesNotExist`.
    """
    campaigns = bulk_sql.reader(Campaign, alias="campaign")
    coupons = bulk_sql.reader(Coupon, alias="coupon")
    statement = READ_CAMPAIGN_AND_COUPONS.format(
        campaign=campaigns.selected,
        coupon=coupons.selected,
        id=campaign_id,
        for_update=bulk_sql.for_update() if lock else "",
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
    existing: dict[int, Coupon | Confirmation] = {row.account_id: row for row in confirmations}
    if coupons is None:
        coupons = {coupon.account_id: coupon for coupon in campaign.coupons.filter(account_id__in=user_ids)}
    return {**existing, **coupons}


def listed_accounts(campaign_id: int, account_ids: AccountIds) -> set[int]:
    """Those of these accounts that are in the campaign's list.

    Exact after the campaign was locked, or read with a version that the write requires.
    """
    rows = EligibleAccount.objects.filter(campaign_id=campaign_id, account_id__in=set(account_ids))
    return set(rows.values_list("account_id", flat=True))


def lets_in(user_id: int) -> Q:
    """What `eligibility.refusal` demands of an account's place in the list, as a condition on the row."""
    listed = EligibleAccount.objects.filter(campaign_id=OuterRef("pk"), account_id=user_id)
    return Q(eligible=Campaign.Eligible.ALL) | Q(Exists(listed))


def issues_at(now: datetime) -> Q:
    """What `eligibility.refusal_of_campaign` demands of all but a pool, as a condition on the row."""
    is_running = Q(opens_at__lte=now, paused_at__isnull=True) & Campaign.not_closed_at(now)
    return is_running & (Q(quantity__isnull=True) | Q(quantity__gt=F("issued") + F("confirming")))


def is_paused(now: datetime) -> Q:
    """Which campaigns have the status `paused`, as a condition on their rows."""
    return Q(paused_at__isnull=False) & Campaign.not_closed_at(now)


def shared_campaigns(codes: Collection[str]) -> list[Campaign]:
    """The campaigns with these shared codes, by id, without a lock."""
    named = Campaign.objects.filter(shared_code__in=codes, code_source=Campaign.CodeSource.SHARED)
    # MySQL compares without regard to spaces at the end.
    return [campaign for campaign in named.order_by("pk") if campaign.shared_code in codes]


def discounted_products(campaign_ids: Collection[int]) -> dict[int, frozenset[int]]:
    """The products that the discounts of these campaigns count over, by campaign."""
    rows = CampaignProduct.objects.filter(campaign_id__in=campaign_ids)
    named = list(rows.values_list("campaign_id", "product_id"))
    return {id: frozenset(product for campaign, product in named if campaign == id) for id in campaign_ids}


def count_taken_slots(campaign: Campaign, number: int, *, if_unchanged: bool = False) -> None:
    """Count so many slots as issued, or as confirming if there is a partner; see `update_counters`."""
    issued, confirming = (0, number) if campaign.partner else (number, 0)
    update_counters(campaign, issued=issued, confirming=confirming, if_unchanged=if_unchanged)


def update_counters(campaign: Campaign, *, issued: int, confirming: int, if_unchanged: bool = False) -> None:
    """Add to the counters, on the campaign's row and on this copy of it.

    The row must be locked, unless `if_unchanged` is given: that raises `transactions.ChangedMeanwhile` when
    the row no longer has the copy's version.
    """
    open_transaction.assert_inside()
    after = (campaign.issued + issued, campaign.confirming + confirming, campaign.version + 1)
    if if_unchanged:
        if not bulk_sql.execute(UPDATE_COUNTERS_IF_UNCHANGED, [*after, campaign.pk, campaign.version]):
            raise _changed(campaign)
    else:
        bulk_sql.execute_deferred(UPDATE_COUNTERS, [*after, campaign.pk])
    campaign.issued, campaign.confirming, campaign.version = after


def lock_unchanged(campaign: Campaign) -> None:
    """Lock a campaign that was read without a lock. Raises `transactions.ChangedMeanwhile`."""
    unchanged = Campaign.objects.filter(pk=campaign.pk, version=campaign.version)
    if not unchanged.select_for_update().values_list("pk", flat=True):
        raise _changed(campaign)


def _changed(campaign: Campaign) -> transactions.ChangedMeanwhile:
    return transactions.ChangedMeanwhile(f"campaign {campaign.pk} changed since it was read")


def new_coupon(campaign: Campaign, user_id: int, code: str, position: int | None, now: datetime) -> Coupon:
    """A new, unsaved coupon of the account; the caller guarantees that code and position are free."""
    columns = {
        "id": None,
        "campaign_id": campaign.pk,
        "account_id": user_id,
        "code": code,
        "position": position,
        "status": ISSUED,
        "order_id": None,
        "issued_at": now,
        "expires_at": slots.expires_at(now, campaign.coupon_valid_for_days),
        "void_reason": "",
    }
    return bulk_sql.new_object(Coupon, columns, campaign=campaign)


def insert_coupons(coupons: Sequence[Coupon]) -> None:
    """Write the rows of these new coupons, by one statement, and nothing else."""
    # The ORM's bulk insert prepares every value again, which costs more than the rest of a batch.
    bulk_sql.insert_objects(coupons)


def find_by_code(codes: Collection[str]) -> dict[str, Coupon]:
    """The coupons of these codes with their campaigns, without a lock: `hold` detects a change since."""
    cells = bulk_sql.SqlLiterals()
    wanted = cells.listed(codes)
    if not wanted:
        return {}
    coupons = bulk_sql.reader(Coupon, alias="coupon")
    campaigns = bulk_sql.reader(Campaign, alias="campaign")
    statement = FIND.format(coupon=coupons.selected, campaign=campaigns.selected, codes=wanted)
    width = len(coupons.names)
    by_code = {}
    for row in bulk_sql.fetch(statement, cells.parameters):
        coupon = coupons.to_model(row[:width])
        coupon.campaign = campaigns.to_model(row[width:])
        by_code[coupon.code] = coupon
    return by_code


def lock_found(found: Collection[Coupon]) -> dict[int, Coupon]:
    """These coupons, locked in the order of their ids and read again, by id."""
    open_transaction.assert_inside()
    campaigns = {coupon.pk: coupon.campaign for coupon in found}
    coupons = lock_coupons(sorted(campaigns)) if campaigns else []
    for coupon in coupons:
        coupon.campaign = campaigns[coupon.pk]
    return {coupon.pk: coupon for coupon in coupons}


def lock_coupons(ids: Iterable[int]) -> list[Coupon]:
    """These coupons, locked in the order of their ids."""
    condition = f"id IN ({bulk_sql.integer_list(ids)}) ORDER BY id{bulk_sql.for_update()}"
    return bulk_sql.reader(Coupon).models(condition, bulk_sql.SqlLiterals())


def coupon_ids_of_orders(order_ids: Iterable[UUID], status: str) -> list[int]:
    """The ids of the coupons of these orders that have this status. The orders are locked: they keep them."""
    found = bulk_sql.reader(Coupon, ("id", "status")).rows_of(set(order_ids), column="order_id")
    return [id for id, current in found if current == status]


def hold(orders: Mapping[Coupon, UUID]) -> None:
    """Have each of these coupons, from `lock_found` or `find_by_code`, held by its order, by one statement.

    The objects are changed as well, so that a later order of the same batch finds them held. Raises
    `transactions.ChangedMeanwhile` if one of them is no longer issued.
    """
    open_transaction.assert_inside()
    if not orders:
        return
    cells = bulk_sql.SqlLiterals()
    by_coupon = {coupon.pk: order_id for coupon, order_id in orders.items()}
    statement = HOLD.format(order_ids=cells.case("id", by_coupon), ids=cells.listed(by_coupon))
    if bulk_sql.execute(statement, cells.parameters) != len(orders):
        raise transactions.ChangedMeanwhile("coupons to hold are not issued, or not any more")
    for coupon, order_id in orders.items():
        coupon.status = Coupon.Status.HELD
        coupon.order_id = order_id


def set_status(coupons: Sequence[Coupon], status: Coupon.Status) -> int:
    """Set the status of these locked coupons; issued ones belong to no order. Returns how many."""
    values: Values = {"status": status.value}
    if status == Coupon.Status.ISSUED:
        values["order_id"] = None
    condition = f"id IN ({bulk_sql.integer_list(coupon.pk for coupon in coupons)})"
    return bulk_sql.update(Coupon, values, condition=condition, cells=bulk_sql.SqlLiterals())


def insert_codes(campaign_id: int, codes: Sequence[str], *, added_at: datetime) -> None:
    """Write these codes of the campaign's pool, available from now on."""
    available = PoolCode.Status.AVAILABLE.value
    bulk_sql.insert(POOL_CODES, [(campaign_id, code, available, added_at) for code in codes])


def available_codes(campaign_id: int) -> "QuerySet[PoolCode]":
    return PoolCode.objects.filter(campaign_id=campaign_id, status=PoolCode.Status.AVAILABLE)


def lock_available_codes(*, campaign_id: int, count: int, but: Collection[str]) -> list[str]:
    """Up to `count` available codes `but` for these, oldest first, locked until the transaction ends.

    Codes that another transaction has locked are skipped.
    """
    others = available_codes(campaign_id).exclude(code__in=but)
    rows = others.select_for_update(skip_locked=True).order_by("id").values_list("code", flat=True)
    return list(rows[:count])


def lock_codes(*, campaign_id: int, codes: Collection[str]) -> set[str]:
    """Lock those of these codes that are available and not locked by another transaction."""
    # The condition is on the unique key alone: with the status in it, the optimizer may choose the index of
    # all available codes.
    rows = PoolCode.objects.filter(code__in=codes).select_for_update(skip_locked=True)
    wanted = (campaign_id, PoolCode.Status.AVAILABLE)
    found = rows.values_list("code", "campaign_id", "status")
    return {code for code, *whose in found if tuple(whose) == wanted}


def mark_codes_issued(codes: Sequence[str]) -> None:
    """Link these codes to their coupons, in the transaction that wrote the coupons."""
    coupon = Coupon.objects.filter(code=OuterRef("code")).values("pk")
    PoolCode.objects.filter(code__in=codes).update(status=PoolCode.Status.ISSUED, coupon=Subquery(coupon))


def mark_codes_in_flight(codes: Sequence[str]) -> None:
    """Mark these locked codes as in flight while a partner confirms them."""
    PoolCode.objects.filter(code__in=codes).update(status=PoolCode.Status.IN_FLIGHT)


def mark_codes_available(codes: Sequence[str]) -> None:
    """Make these codes in flight available again."""
    in_flight = PoolCode.objects.filter(code__in=codes, status=PoolCode.Status.IN_FLIGHT)
    in_flight.update(status=PoolCode.Status.AVAILABLE)
