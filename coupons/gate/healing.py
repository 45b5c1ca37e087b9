"""Fills the gate and heals it: overdue tickets are resolved, and a gate with wrong counts is dropped.

A gate is wrong when Redis lost some or came back with old data, or the update after a commit got lost. The
next request fills it again from the database.
"""

import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import lru_cache
from itertools import islice

from django.db.models import Q, QuerySet
from redis import Redis
from structlog import get_logger

from coupons import CAMPAIGNS_AT_ONCE
from coupons.gate import gate
from coupons.gate.gate import GateCounts
from coupons.models import Campaign, Confirmation, Coupon
from coupons.redis_keys import SECONDS_KEPT_AFTER_CLOSING
from shop import clock
from shop.db import key_walks
from shop.redis import redis_client

log = get_logger(__name__)
# Longer than an undelayed write takes. That a write will never come can't be known: if it is only slow, the
# gate admits one request too many, and the database refuses the last one.
OVERDUE_SECONDS = 3.0


def fill(*, campaign_id: int) -> bool:
    """Fill the gate from the database, and open it, while the campaign goes on issuing.

    A batch that commits meanwhile adds its members itself, whether the gate is open or not, so no account is
    missed. False when another thread is filling the gate, or Redis lost it meanwhile.
    """
    lock = _fill_lock(campaign_id)
    if not lock.acquire(blocking=False):
        return False
    try:
        return _fill(Campaign.objects.get(pk=campaign_id))
    finally:
        lock.release()


def _fill(campaign: Campaign) -> bool:
    # Confirmations first: one that becomes a coupon meanwhile is read twice rather than not at all.
    confirming = Confirmation.objects.filter(campaign=campaign)
    for page in key_walks.pages(confirming, size=gate.AT_ONCE, key="account_id"):
        gate.add_members(campaign, [user_id for (user_id,) in page])
    number = 0
    # By position: coupons issued meanwhile come after those already read.
    coupons = Coupon.objects.filter(campaign=campaign, position__gt=0)
    for page in key_walks.pages(coupons, "account_id", size=gate.AT_ONCE, key="position"):
        gate.add_members(campaign, [user_id for _position, user_id in page])
        number += len(page)
    campaign.refresh_from_db()
    is_open = gate.open(campaign, members=number)
    # Changes since the campaign was read went to a gate that was closed; from now on they reach an open one.
    gate.refresh(campaign_id=campaign.pk)
    return is_open


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _fill_lock(campaign_id: int) -> threading.Lock:
    return threading.Lock()


def heal() -> int:
    """Resolve overdue tickets, and drop gates that are wrong. Returns how many of both; 0 without Redis."""
    return sum(
        redis_client.attempt(lambda client, id=id: _heal(client, id), otherwise=0)  # type: ignore[misc]
        for id in _campaigns_with_gate().values_list("pk", flat=True)
    )


def numbers_in_flight() -> Mapping[str, int] | None:
    """The number of accounts in flight by campaign, for the metrics; None without Redis."""
    ids = list(_campaigns_with_gate().values_list("pk", flat=True))
    return redis_client.attempt(
        lambda client: {str(id): gate.number_in_flight(client, id) for id in ids}, otherwise=None
    )


def _campaigns_with_gate() -> "QuerySet[Campaign]":
    """The campaigns that may have a gate."""
    long_ago = clock.now() - timedelta(seconds=SECONDS_KEPT_AFTER_CLOSING)
    is_kept = Q(closes_at__isnull=True) | Q(closes_at__gt=long_ago)
    return Campaign.objects.filter(is_kept, strategy="redis_gate")


def _heal(client: Redis, campaign_id: int) -> int:
    before = gate.read_counts(client, campaign_id)
    campaign = Campaign.objects.get(pk=campaign_id)
    after = gate.read_counts(client, campaign_id)
    settled = sum(_resolve_overdue(campaign, overdue) for overdue in _overdue_tickets(client, campaign_id))
    if before is None or after is None:
        return settled
    if _is_wrong(campaign, before, after):
        log.warning("the gate of a campaign was wrong and is filled again", campaign=campaign_id)
        gate.drop(campaign_id=campaign_id)
        return settled + 1
    return settled + gate.publish_terms(campaign)


def _is_wrong(campaign: Campaign, before: GateCounts, after: GateCounts) -> bool:
    """Whether the counts differ from the row, which was read between them, by more than requests under way.

    Accounts become members after their commit, and stay members.
    """
    taken = campaign.issued + campaign.confirming
    is_short = after.members + after.in_flight < taken
    return before.members > taken or is_short or before.version > campaign.version


def _overdue_tickets(client: Redis, campaign_id: int) -> Iterator[dict[int, str]]:
    """The tickets, by account, that have been in flight for too long, in chunks.

    A ticket from the future counts as overdue too: the Redis that wrote it had another clock.
    """
    seconds, microseconds = client.time()
    now = seconds * 1_000 + microseconds // 1_000
    overdue = (
        (user_id, ticket)
        for user_id, ticket in gate.in_flight(client, campaign_id)
        if abs(now - int(ticket.partition(":")[2])) > OVERDUE_SECONDS * 1_000
    )
    while some := dict(islice(overdue, gate.AT_ONCE)):
        yield some


def _resolve_overdue(campaign: Campaign, overdue: Mapping[int, str]) -> int:
    """Make accounts with a coupon or a confirmation members, and release the slots of the others."""
    owners: set[int] = set()
    for model in (Confirmation, Coupon):
        rows = model._default_manager.filter(campaign_id=campaign.pk, account_id__in=list(overdue))
        owners.update(rows.values_list("account_id", flat=True))
    gate.add_members(campaign, owners)
    gate.release_slots(
        campaign_id=campaign.pk, tickets={id: overdue[id] for id in overdue if id not in owners}
    )
    log.warning(
        "overdue tickets of a gate are resolved",
        campaign=campaign.pk,
        members=len(owners),
        released=len(overdue) - len(owners),
    )
    return len(overdue)
