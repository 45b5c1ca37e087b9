"""What must hold in the end of a run: every answer is true, all books agree, and no slot or code is lost."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import F, Model, QuerySet, Subquery

from coupons import tasks
from coupons.allocation.writes import Queued
from coupons.codes import eligible_accounts
from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation, Coupon, PoolCode, QueueTicket
from coupons.queue import worker
from events.models import FeedEvent, FeedState, WebhookDelivery, WebhookEndpoint
from events.webhooks.endpoints import DATA_PLATFORM_EVENTS
from lab.simulation.chance import chance
from lab.simulation.clients import Shop
from lab.simulation.offers import COUPONS
from lab.simulation.outside import Gateway, Partner, Receiver
from orders.models import Order, Saga
from payments import points_grants
from payments.gateways.contract import BookedCharge
from payments.models import Entry, Transfer
from sales.models import SaleEntry
from shop.approval_models import Approval
from shop.errors import FirstcomeError
from shop.management import laws

HEALING_SECONDS = 40.0
"""After so long the sweep takes every code and slot back that a crash left in flight."""


def open_now() -> list[str]:
    """What has not ended yet."""
    last = FeedState.objects.values("last_position")
    unsettled: tuple[QuerySet[Any], ...] = (
        Saga.objects.filter(ended_at=None),
        Order.objects.filter(status=Order.Status.AWAITING_PAYMENT),
        FeedEvent.objects.filter(position=None),
        WebhookDelivery.objects.filter(status=WebhookDelivery.Status.PENDING),
        WebhookEndpoint.objects.filter(position__lt=Subquery(last)),
        QueueTicket.objects.filter(status=QueueTicket.Status.WAITING),
        Confirmation.objects.all(),
    )
    return [f"{type(row).__name__} {row.pk}" for rows in unsettled for row in rows.order_by("pk")[:5]]


def of_run(
    shop: Shop, gateway: Gateway, partner: Partner, platform: Receiver, program: Receiver
) -> Iterator[str]:
    """What is wrong, once nothing is open any more."""
    yield from shop.contradictions
    yield from (f"{law.law} is broken: {law.offenders[:5]}" for law in laws.audit() if not law.holds)
    yield from _answers(shop, partner)
    yield from _grants(shop)
    yield from _coupons(shop)
    yield from _charges(gateway)
    events = FeedEvent.objects.order_by("id")
    yield from _events("data platform", platform, events.filter(type__in=DATA_PLATFORM_EVENTS))
    yield from _events("program", program, events.filter(type__startswith="order."))
    yield from _sell_the_rest(shop)


def _answers(shop: Shop, partner: Partner) -> Iterator[str]:
    """What clients were answered is there, and nothing is of which no client, or no partner, knows."""

    def ids(model: type[Model]) -> set[Any]:
        return set(model._default_manager.values_list("pk", flat=True))

    answered = {(*owned, code) for owned, code in shop.coupons.items()}
    coupons = Coupon.objects.filter(account_id__in=shop.accounts)
    codes = Coupon.objects.exclude(campaign__partner="").values_list("code", flat=True)
    differences: dict[str, set[Any]] = {
        "order": {*shop.orders} ^ ids(Order),
        "saga": {*shop.sagas} - ids(Saga),
        "entry": shop.entries ^ ids(SaleEntry),
        "ticket": shop.tickets - ids(QueueTicket),
        "coupon": answered ^ {*coupons.values_list("account_id", "campaign_id", "code")},
        "code": partner.registered_codes() ^ {*codes},
    }
    for name, rows in differences.items():
        yield from (f"{name} {row} is on one side only" for row in sorted(rows, key=str))
    if refused := shop.refusals["admission_required"]:
        yield f"{refused} orders of admitted accounts were refused"


def _grants(shop: Shop) -> Iterator[str]:
    """What operators were answered that is not so, and points that nobody granted, or granted once more."""
    rows = {row.reason: row for row in Approval.objects.filter(kind=points_grants.GRANT)}
    if rows.keys() != shop.asked.keys():
        yield f"approvals of grants: {len(shop.asked)} were asked for, {len(rows)} are there"
    for row in Approval.objects.order_by("id"):
        if shop.decided.get(row.pk, row.status) != row.status:
            yield f"approval {row.pk} was answered to be {shop.decided[row.pk]}, and is {row.status}"
    approved = {why: shop.asked[why] for why, row in rows.items() if row.status == Approval.Status.APPROVED}
    due = sorted((why, *granted) for why, granted in (shop.granted | approved).items())
    entries = Entry.objects.filter(transfer__kind=Transfer.Kind.GRANT, amount__gt=0)
    entries = entries.exclude(transfer__reference__startswith="opening ")
    found = sorted(entries.values_list("transfer__reason", "account_id", "amount"))
    if found != due:
        yield f"points granted: {due} by the answers, {found} by the ledger"


def _coupons(shop: Shop) -> Iterator[str]:
    """Campaigns that gave more than they have, or refused before, and first orders that were none."""
    for campaign_id, offer in shop.offers.items():
        codes = Coupon.objects.filter(campaign_id=campaign_id).values_list("code", flat=True)
        if len(codes) > COUPONS or (campaign_id in shop.sold_out and len(codes) < COUPONS):
            yield f"campaign {campaign_id} of {COUPONS} has issued {len(codes)}, sold out: {shop.sold_out}"
        for order in Order.objects.filter(coupon_code__in=list(codes)) if offer.is_for_first_orders else ():
            before = Order.objects.filter(account_id=order.account_id, placed_at__lt=order.placed_at)
            for one in before.exclude(status=Order.Status.REFUNDED).exclude(ended_at__lte=order.placed_at):
                yield f"order {order.id} is no first order: {one.id} was {one.status}"


def _charges(gateway: Gateway) -> Iterator[str]:
    """The gateway's book: no charge is open, and no order has two that succeeded or keeps what it may not."""
    of_orders = defaultdict[str, list[BookedCharge]](list)
    for charge in gateway.book.values():
        if charge.status == "pending":
            yield f"charge {charge.key} is open"
        if charge.order_id and charge.status == "succeeded":
            of_orders[charge.order_id].append(charge)
    for order in Order.objects.order_by("id"):
        charges = of_orders[str(order.id)]
        if len(charges) > 1:
            yield f"order {order.id} was charged {len(charges)} times"
        kept_amount = sum(charge.kept_amount for charge in charges)
        if order.status != Order.Status.PAID and kept_amount:
            yield f"order {order.id} is {order.status}, and {kept_amount} are charged for it"


def _events(name: str, receiver: Receiver, events: "QuerySet[FeedEvent]") -> Iterator[str]:
    """Whether it got each of these events, and those of an order in the sequence in which they happened."""
    order_of = {str(event.event_id): event.order_id for event in events}
    if order_of.keys() != receiver.events.keys():
        yield f"{name}: {len(receiver.events)} of {len(order_of)} events"
    happened, came = defaultdict[UUID, list[str]](list), defaultdict[UUID, list[str]](list)
    for ids, of_orders in ((order_of, happened), (receiver.events, came)):
        for id in ids:
            if order_id := order_of.get(id):
                of_orders[order_id].append(id)
    yield from (
        f"{name}: events of {order} out of sequence" for order in happened if came[order] != happened[order]
    )


def _sell_the_rest(shop: Shop) -> Iterator[str]:
    """Each campaign still issues as many coupons as it has left, and no more."""
    chance.pass_time(HEALING_SECONDS)
    tasks.sweep()
    for number in range(max(Campaign.objects.values_list("quantity", flat=True)) + 1):
        account = User.objects.create(username=f"late-{number}").pk
        for campaign_id, offer in shop.offers.items():
            if offer.listed is not None:
                eligible_accounts.add(campaign_id=campaign_id, account_ids=[account])
            # A refusal shows in the campaign's count.
            with suppress(FirstcomeError):
                if isinstance(issuing.issue(campaign_id=campaign_id, user_id=account), Queued):
                    worker.serve_once()
    if codes := PoolCode.objects.filter(status=PoolCode.Status.IN_FLIGHT).count():
        yield f"{codes} codes are in flight for ever"
    for one in Campaign.objects.exclude(issued=F("quantity")):
        yield f"campaign {one.pk} ({one.strategy}): {one.issued} of {one.quantity} are issued, and no more"
