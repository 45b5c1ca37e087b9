"""Pools: codes that are made ahead, to be issued by a campaign.

A code is unique over all campaigns and coupons, and never deleted: a campaign's `codes_added` counts all.
Locks are taken at the campaign first, then at its codes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from django.db import IntegrityError
from django.db.models import F, Model, QuerySet
from structlog import get_logger

from coupons import remembered, rows
from coupons.codes import code_format
from coupons.models import Campaign, Confirmation, Coupon, PoolCode
from foundation import clock, journal
from foundation.db import transactions
from foundation.db.rows import save_changes
from foundation.errors import NotFound, Rejected, required
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.lazy_texts import mark

log = get_logger(__name__)

# The campaign is locked while a chunk is written: short enough for issuing to go on in between.
CHUNK = 1_000
ATTEMPTS = 3
CODE_COLUMNS: Sequence[tuple[type[Model], str]] = (
    (PoolCode, "code"),
    (Coupon, "code"),
    (Confirmation, "code"),
    (Campaign, "shared_code"),
)
Value = TypeVar("Value")
Codes = Sequence[str]


class Added(NamedTuple):
    """How many are new, those that were there, and how many the campaign's pool or list has had in all."""

    added: int
    skipped: list[Any]
    total: int


def chunks(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def split_known(values: Sequence[Value], known: set[Value]) -> tuple[list[Value], list[Value]]:
    """The values that are new, and those that are known or come again; the new ones are known then."""
    new = list[Value]()
    skipped = list[Value]()
    for value in values:
        (skipped if value in known else new).append(value)
        known.add(value)
    return new, skipped


def add(*, campaign_id: int, codes: Codes, reason: str = "") -> Added:
    """Add these codes to the campaign's pool; those that exist anywhere are skipped, so repeating is safe.

    Each chunk of them is durable by itself, and the journal keeps the `reason` with each. Raises `NotFound`
    without the campaign.
    """
    require_campaign(campaign_id)
    skipped: list[str] = []
    for chunk in chunks(codes):
        skipped += _add_chunk(campaign_id, chunk, reason)
    remembered.terms_changed(campaign_id=campaign_id)
    return Added(len(codes) - len(skipped), skipped, _codes_added(campaign_id))


def generate(
    *, campaign_id: int, count: int, keyed: Callable[[int], KeyedCall] | None = None, reason: str = ""
) -> Added:
    """Make `count` new codes for the campaign's pool.

    Each chunk of them is durable by itself. `keyed` returns the keyed call of the chunk of this number: a
    repeat makes those that are missing, and counts them alone. The journal keeps the `reason` with each
    chunk. Raises `NotFound` without the campaign, and `KeyReused`.
    """
    require_campaign(campaign_id)
    added = 0
    try:
        for number, start in enumerate(range(0, count, CHUNK)):
            added += _make_chunk(campaign_id, min(count - start, CHUNK), keyed and keyed(number), reason)
    finally:
        remembered.terms_changed(campaign_id=campaign_id)
    return Added(added, [], _codes_added(campaign_id))


def rename(*, campaign_id: int, code: str, to: str) -> PoolCode:
    """Rename an available code of the campaign.

    Raises `NotFound`, and `Rejected` `code_issued` (void ones too) or `code_exists`.
    """

    def work() -> PoolCode:
        found = PoolCode.objects.select_for_update().filter(campaign_id=campaign_id, code=code).first()
        missing = mark("Campaign {campaign_id} has no code {code}.", campaign_id=campaign_id, code=code)
        row = required(found, missing)
        if row.status != PoolCode.Status.AVAILABLE:
            raise Rejected(
                mark(
                    "Code {code} is {status}; only available ones are renamed.", code=code, status=row.status
                ),
                code="code_issued",
            )
        if to != code and existing_codes([to]):
            raise code_exists(to)
        save_changes(row, code=to)
        _require_unshared([to])
        return row

    try:
        return transactions.run(work, transactions.ONCE)
    except IntegrityError:
        raise code_exists(to) from None


def claim_shared(*, campaign_id: int, code: str) -> None:
    """Let the unique key of the pools' codes decide on a shared code, in the transaction that writes it.

    Until that ends, a pool that adds the code waits, and then finds that it is shared. Raises
    `IntegrityError` if a pool has the code.
    """
    PoolCode.objects.create(campaign_id=campaign_id, code=code, added_at=clock.now()).delete()


def list_codes(*, campaign_id: int, status: str | None) -> "QuerySet[PoolCode]":
    """The campaign's codes, with their coupons. Raises `NotFound` without the campaign."""
    require_campaign(campaign_id)
    listed = PoolCode.objects.filter(campaign_id=campaign_id).select_related("coupon")
    if status == PoolCode.Status.AVAILABLE:
        return listed.filter(status__in=[PoolCode.Status.AVAILABLE, PoolCode.Status.IN_FLIGHT])
    return listed.filter(status=status) if status else listed


def _add_chunk(campaign_id: int, codes: Codes, reason: str) -> list[str]:
    """Add one chunk in one transaction; returns the codes that were skipped."""

    def work() -> list[str]:
        new, skipped = split_known(codes, existing_codes(codes))
        _write(campaign_id, new, reason)
        return skipped

    for _attempt in range(ATTEMPTS - 1):
        try:
            return transactions.run(work, transactions.ONCE)
        except IntegrityError as error:
            log.info("another process wrote one of the codes, trying again", error=error)
    return transactions.run(work, transactions.ONCE)


def _make_chunk(campaign_id: int, count: int, keyed: KeyedCall | None, reason: str) -> int:
    """Add a chunk of new codes; returns how many: 0 if a call with the key has."""

    def write() -> int:
        # That no other code is the same is as certain as with the codes that are made to be issued at once.
        _write(campaign_id, code_format.make_several(count), reason)
        return count

    if keyed is None:
        return transactions.run(write, transactions.ONCE)
    made = recorded_answers.run_once(keyed, write)
    return 0 if isinstance(made, Replay) else made


def _write(campaign_id: int, codes: Codes, reason: str) -> None:
    """Count and write these new codes: first the campaign's row, which they refer to."""
    added = {"codes_added": F("codes_added") + len(codes), "version": F("version") + 1}
    Campaign.objects.filter(pk=campaign_id).update(**added)
    if codes:
        rows.insert_codes(campaign_id, codes, added_at=clock.now())
        _require_unshared(codes)
        journal.note(
            what="campaign.codes_added",
            subject=f"campaign {campaign_id}",
            after={"codes": len(codes)},
            detail=reason,
            is_internal=True,
        )


def _require_unshared(codes: Codes) -> None:
    """Refuse codes just written, of which one became a shared code after it was looked up."""
    if Campaign.objects.filter(shared_code__in=codes).exists():
        raise IntegrityError("A campaign's shared code is among these codes.")


def existing_codes(codes: Codes) -> set[str]:
    """Which of these any campaign has: in a pool, as a coupon, as a confirmation, or as its shared code."""
    first, *others = (
        table._default_manager.filter(**{f"{name}__in": codes}).values_list(name, flat=True)
        for table, name in CODE_COLUMNS
    )
    # One statement: a confirmation may become a coupon between two.
    return set(first.union(*others, all=True))


def code_exists(code: str) -> Rejected:
    """The refusal of a code that exists."""
    return Rejected(mark("Code {code} exists already.", code=code), code="code_exists")


def require_campaign(campaign_id: int) -> None:
    """Raise `NotFound` without the campaign."""
    if not Campaign.objects.filter(pk=campaign_id).exists():
        raise NotFound(mark("There is no campaign {campaign_id}.", campaign_id=campaign_id))


def _codes_added(campaign_id: int) -> int:
    return Campaign.objects.values_list("codes_added", flat=True).get(pk=campaign_id)
