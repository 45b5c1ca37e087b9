"""Heals the gate: overdue tickets are resolved from the database, and a gate with wrong counts is dropped.

A gate is wrong when Redis came back with old data or lost some, when the update after a commit got lost, or
when an account was read as a member that had just lost its slot. The next request fills it again from the
database.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice

from django.db.models import Q, QuerySet
from redis import Redis
from structlog import get_logger

from coupons.gate import gate
from coupons.gate.gate import GateCounts
from coupons.models import Campaign, Confirmation, Coupon
from coupons.redis_keys import SECONDS_KEPT_AFTER_CLOSING
from shop import clock
from shop.redis import redis_client

log = get_logger(__name__)
# Longer than an undelayed write takes. That a write will never come can't be known: if it is only slow, the
# gate admits one request too many, and the database refuses the last one.
OVERDUE_SECONDS = 3.0


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

    Accounts become members after their commit, and stay members: the members counted before are all counted
    on the row, and the slots counted on the row are members or in flight afterwards.
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
