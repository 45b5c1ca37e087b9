"""Whether an order may be placed of the products of sales, and which entries it uses."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import NamedTuple
from uuid import UUID

from foundation import lazy_texts
from foundation.errors import Rejected
from foundation.lazy_texts import mark
from sales.sale_states import SaleState, Status

PAUSE_RETRY_SECONDS = 10
Pair = tuple[int, int]
"""A sale and an account."""


class AdmittedEntry(NamedTuple):
    """An entry as it was read, and the instant up to which an order may use it."""

    id: UUID
    until: datetime


@dataclass(slots=True)
class SaleTerms:
    """The sales of a batch's products, the admitted entries of its accounts, and those `used`, with their
    orders. An ended order still holds the places of the sales and accounts in `to_free`.
    """

    sales: Mapping[int, SaleState] = field(default_factory=dict)
    entries: dict[Pair, AdmittedEntry] = field(default_factory=dict)
    to_free: set[Pair] = field(default_factory=set)
    used: dict[UUID, UUID] = field(default_factory=dict)


NO_SALES = SaleTerms()


def pairs_with_entries(sales: Mapping[int, SaleState], pairs: Collection[Pair], now: datetime) -> set[Pair]:
    """Those of these pairs whose orders need an entry now."""
    rooms = {id for id, sale in sales.items() if sale.is_queued and sale.status_at(now) == Status.OPEN}
    return {pair for pair in pairs if pair[0] in rooms}


def check(terms: SaleTerms, account_id: int, sale_ids: Iterable[int | None], now: datetime) -> list[int]:
    """Check that an order of products of these sales may be placed now; returns those that need an entry.

    Raises `Rejected` with `sales`: `sale_not_open` with the seconds until it opens, `sale_closed`,
    `sale_paused`, and `admission_required`.
    """
    ids = sorted({id for id in sale_ids if id is not None and id in terms.sales})
    if not ids:
        return []
    status = {id: terms.sales[id].status_at(now) for id in ids}
    for refused in (Status.CLOSED, Status.PAUSED, Status.SCHEDULED):
        if found := [terms.sales[id] for id in ids if status[id] == refused]:
            raise _refusal(refused, found, now)
    queued = [id for id in ids if terms.sales[id].is_queued]
    entries = {id: terms.entries.get((id, account_id)) for id in queued}
    if without := [id for id, entry in entries.items() if entry is None or entry.until <= now]:
        detail = mark(
            "Join the waiting room, and order when you are admitted: {sales}.", sales=_names(without)
        )
        raise Rejected(detail, code="admission_required", sales=without)
    return queued


def use(terms: SaleTerms, account_id: int, sale_ids: Sequence[int], order_id: UUID) -> None:
    """Let a placed order use the account's entries of these sales, which `check` returned, in memory."""
    for sale_id in sale_ids:
        terms.used[terms.entries.pop((sale_id, account_id)).id] = order_id


def _refusal(status: Status, sales: Sequence[SaleState], now: datetime) -> Rejected:
    """Why these sales, which have this status, take no order."""
    ids = [sale.id for sale in sales]
    if status == Status.CLOSED:
        return Rejected(mark("The sale is over: {sales}.", sales=_names(ids)), code="sale_closed", sales=ids)
    if status == Status.PAUSED:
        detail = mark("The sale is paused; admitted accounts lose no time: {sales}.", sales=_names(ids))
        return Rejected(detail, code="sale_paused", retry_after=PAUSE_RETRY_SECONDS, sales=ids)
    opens_at = max(sale.opens_at for sale in sales)
    return Rejected(
        mark("The sale has not opened yet; it opens at {opens_at:%Y-%m-%d %H:%M:%S} UTC.", opens_at=opens_at),
        code="sale_not_open",
        retry_after=ceil((opens_at - now).total_seconds()),
        sales=ids,
    )


def _names(sale_ids: Sequence[int]) -> lazy_texts.Text:
    return lazy_texts.join(", ", [mark("sale {sale}", sale=id) for id in sale_ids])
