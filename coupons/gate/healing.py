"""Healing the gate: who died in flight is settled as the database says, and a gate that is wrong is dropped.

It is wrong when Redis came back with old data or lost some, when news of a commit got lost, or when somebody
was read as a member who had just stopped being one. Then it fills itself anew from the database.
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
# Longer than a write takes that nothing holds up. Nobody can know that one will never come: should it still
# be alive, one too many is let through, and the database refuses whoever comes last.
OVERDUE_SECONDS = 3.0


def heal() -> int:
    """Settle who died in flight, and drop gates that are wrong. Returns how many of both. No Redis, none."""
    return sum(
        redis_client.attempt(lambda client, id=id: _heal(client, id), otherwise=0)  # type: ignore[misc]
        for id in _campaigns_with_gate().values_list("pk", flat=True)
    )


def numbers_in_flight() -> Mapping[str, int] | None:
    """How many are in flight by campaign, for the metrics; None without Redis."""
    ids = list(_campaigns_with_gate().values_list("pk", flat=True))
    return redis_client.attempt(
        lambda client: {str(id): gate.number_in_flight(client, id) for id in ids}, otherwise=None
    )


def _campaigns_with_gate() -> "QuerySet[Campaign]":
    """The campaigns that have a gate, if anybody has asked."""
    long_ago = clock.now() - timedelta(seconds=SECONDS_KEPT_AFTER_CLOSING)
    is_kept = Q(closes_at__isnull=True) | Q(closes_at__gt=long_ago)
    return Campaign.objects.filter(is_kept, strategy="redis_gate")


def _heal(client: Redis, campaign_id: int) -> int:
    before = gate.read_counts(client, campaign_id)
    campaign = Campaign.objects.get(pk=campaign_id)
    after = gate.read_counts(client, campaign_id)
    settled = sum(_resolve_overdue(campaign, late) for late in _overdue_tickets(client, campaign_id))
    if before is None or after is None:
        return settled
    if _is_wrong(campaign, before, after):
        log.warning("the gate of a campaign was wrong and fills itself anew", campaign=campaign_id)
        gate.drop(campaign_id=campaign_id)
        return settled + 1
    return settled + gate.publish_terms(campaign)


def _is_wrong(campaign: Campaign, before: GateCounts, after: GateCounts) -> bool:
    """Whether it differs from the row, which was read in between, by more than what is just going on.

    Members stay members, and become so after their commit: those before it are all in the row, and those in
    the row are members after it, or still in flight.
    """
    taken = campaign.issued + campaign.confirming
    is_short = after.members + after.in_flight < taken
    return before.members > taken or is_short or before.version > campaign.version


def _overdue_tickets(client: Redis, campaign_id: int) -> Iterator[dict[int, str]]:
    """The tickets, by account, of those who have been in flight for too long, some at a time.

    A ticket from the future is late as well: the Redis that wrote it had another clock.
    """
    seconds, microseconds = client.time()
    now = seconds * 1_000 + microseconds // 1_000
    late = (
        (user_id, ticket)
        for user_id, ticket in gate.in_flight(client, campaign_id)
        if abs(now - int(ticket.partition(":")[2])) > OVERDUE_SECONDS * 1_000
    )
    while some := dict(islice(late, gate.AT_ONCE)):
        yield some


def _resolve_overdue(campaign: Campaign, late: Mapping[int, str]) -> int:
    """Whoever has a coupon, or a slot, becomes a member; the others' places are given back."""
    owners: set[int] = set()
    for model in (Confirmation, Coupon):
        rows = model._default_manager.filter(campaign_id=campaign.pk, account_id__in=list(late))
        owners.update(rows.values_list("account_id", flat=True))
    gate.add_members(campaign, owners)
    gate.release_places(campaign_id=campaign.pk, tickets={id: late[id] for id in late if id not in owners})
    log.warning(
        "admissions left in flight are settled",
        campaign=campaign.pk,
        members=len(owners),
        given_back=len(late) - len(owners),
    )
    return len(late)
