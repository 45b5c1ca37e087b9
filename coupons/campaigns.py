"""Campaigns: creating, changing and pausing them, and which of them are visible."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypedDict, Unpack

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import ngettext

from accounts.operating import approvals, pausing
from coupons import issuing, partners, remembered, rows
from coupons.codes import code_format, pool
from coupons.models import Campaign, CampaignProduct
from foundation import clock, journal, lazy_texts
from foundation.db import transactions
from foundation.errors import Invalid, Rejected, invalid_field, required
from foundation.lazy_texts import Text, mark
from foundation.money import format_amount
from foundation.values import GivenValues
from inventory.models import Product


class Terms(TypedDict, total=False):
    """The terms of a campaign that staff set, named as its columns; amounts in minor units.

    `products` are the ids of the products whose lines the discount counts over; none: it counts over all.
    `quantity` is None for everybody: one coupon an account.
    """

    name: str
    strategy: str
    quantity: int | None
    opens_at: datetime
    closes_at: datetime | None
    code_source: str
    shared_code: str | None
    partner: str
    discount_type: str
    discount_value: int
    min_order_amount: int
    max_discount_amount: int | None
    coupon_valid_for_days: int
    products: Sequence[int]
    first_order_only: bool
    eligible: str


# Orders issue coupons of shared codes under the lock of the campaign's row (`coupons.coupon_requests`), and
# `POST /coupons` by its strategy, which must therefore decide by that row alone.
STRATEGIES_OF_SHARED_CODES = ("group_commit", "pessimistic", "optimistic", "conditional_update")
# The others keep count of what is left outside of the campaign's row, or issue from a pool, which ends.
STRATEGIES_FOR_EVERYBODY = ("group_commit", "pessimistic", "optimistic", "spin_lock", "fair_lock")
SAFE_LENGTH = 8
"""Shorter shared codes are guessed sooner than the limits of wrong codes suggest."""
# The unique keys that a shared code meets; SQLite names the column instead of the key.
SHARED_CODE_KEYS = "coupons_(campaign.shared_code|poolcode.code)"
MOST_PRODUCTS = 1_000
Status = Campaign.Status
UNKNOWN_SHOWN = 10
PRODUCTS = "products"
TERMS = tuple(Terms.__annotations__)
Fault = tuple[object, str, str, Text]
"""Whether it is there, the field, a code that says what is wrong with it, and the text."""
IN_THE_PAST = {
    "opens_at": mark("The campaign must open in the future (times are UTC)."),
    "closes_at": mark("The campaign must close in the future (times are UTC)."),
}
# Issued coupons depend on these terms: they can't change once there is a coupon.
FIXED_ONCE_ISSUED = (
    "code_source",
    "discount_type",
    "discount_value",
    "min_order_amount",
    "max_discount_amount",
    "partner",
    "products",
    "first_order_only",
)

FREE = {"name", "strategy", "partner", "opens_at", "closes_at", "campaign_id"}
"""Terms that one operator changes whatever the discount is."""
CREATE = "campaign.create"
CHANGE = "campaign.change"


def create(*, reason: str = "", **terms: Unpack[Terms]) -> Campaign:
    """Create a campaign; it opens at once unless the terms have `opens_at`. The journal keeps the `reason`.

    Durable when it returns, unless the caller has a transaction open. Raises `Invalid` with every field that
    is wrong, `Rejected` `code_exists` for a shared code that is taken, and `ApprovalRequired` for a discount
    above `DISCOUNT_LIMIT_AMOUNT`.
    """
    given: Any = {"opens_at": clock.now(), **terms}
    products = sorted(set(given.pop(PRODUCTS, ())))
    campaign = Campaign(**given, is_limited_to_products=bool(products))
    _require_valid(campaign, terms | {PRODUCTS: products})
    _require_approval(campaign, CREATE, given | {PRODUCTS: products})

    def insert() -> Campaign:
        campaign.save(force_insert=True)
        if campaign.shared_code:
            pool.claim_shared(campaign_id=campaign.pk, code=campaign.shared_code)
        _replace_products(campaign, products)
        subject = f"campaign {campaign.pk}"
        journal.note(what="campaign.created", subject=subject, after=terms_of(campaign), detail=reason)
        return campaign

    with _shared_code_free(campaign.shared_code):
        return transactions.run_or_savepoint(insert, transactions.ONCE)


def raise_quantity(*, campaign_id: int, quantity: int, reason: str) -> Campaign:
    """Raise the campaign's quantity, also while it issues coupons; `reason` is kept in the journal.

    Of two that raise it at once the higher one stays. Raises `NotFound`; `Invalid` `not_raised` unless it is
    above the quantity that the campaign has by then: a campaign for everybody has none.
    """
    return change(campaign_id=campaign_id, reason=reason, only_raises=True, quantity=quantity)


def change(
    *, campaign_id: int, reason: str = "", only_raises: bool = False, **terms: Unpack[Terms]
) -> Campaign:
    """Change these terms of a campaign, also while it issues coupons; `reason` is kept in the journal.

    All processes use a new strategy within a second. Raises `NotFound`; `Invalid` with every field that is
    wrong, and `not_raised` for a quantity that `only_raises`; `Rejected` `quantity_below_issued`,
    `campaign_has_coupons` for terms that issued coupons depend on, and `code_exists`; `ApprovalRequired`.
    """
    get(campaign_id=campaign_id, include_closed=True)

    def work() -> Campaign:
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        present = terms_of(campaign)
        if only_raises:
            _require_raised(campaign, terms["quantity"])
        changed = _changed_terms(present, terms)
        _require_changeable(campaign, changed)
        _write_changed(campaign, changed)
        if changed:
            journal.note(
                what="campaign.changed",
                subject=f"campaign {campaign.pk}",
                before={name: present[name] for name in changed},
                after=changed,
                detail=reason,
            )
        transaction.on_commit(partial(remembered.terms_changed, campaign_id=campaign_id))
        return campaign

    with _shared_code_free(terms.get("shared_code")):
        return transactions.run_or_savepoint(work, transactions.ONCE)


def duplicate(
    *,
    campaign_id: int,
    name: str,
    opens_at: datetime,
    closes_at: datetime | None = None,
    shared_code: str | None = None,
    reason: str = "",
) -> Campaign:
    """Create a scheduled campaign with the terms of this one, under a new name, times and shared code.

    It has none of the other's codes, coupons and listed accounts. Raises `NotFound`, what `create` raises,
    and `Invalid` if a time is not in the future.
    """
    original = get(campaign_id=campaign_id, include_closed=True)
    _require_in_future({"opens_at": opens_at, "closes_at": closes_at})
    same: Any = terms_of(original)
    own = {"name": name, "opens_at": opens_at, "closes_at": closes_at, "shared_code": shared_code or None}
    return create(**same | own, reason=reason)


def schedule(
    *, campaign_id: int, opens_at: datetime, closes_at: datetime | None, reason: str = ""
) -> Campaign:
    """Set when a campaign opens and closes; None means that it stays open. The journal keeps the `reason`.

    Raises `NotFound`; `Invalid` for a new time that is not in the future, or if it closes before it opens;
    `Rejected` `campaign_has_opened` for a new opening of a campaign that has opened.
    """
    campaign = get(campaign_id=campaign_id, include_closed=True)
    given = {"opens_at": opens_at, "closes_at": closes_at}
    changed = {term: at for term, at in given.items() if at != getattr(campaign, term)}
    if "opens_at" in changed and campaign.opens_at <= clock.now():
        raise Rejected(
            mark(
                "{campaign} opened at {opens_at:%Y-%m-%d %H:%M} UTC; only its closing can change.",
                campaign=campaign.name,
                opens_at=campaign.opens_at,
            ),
            code="campaign_has_opened",
        )
    _require_in_future(changed)
    return change(campaign_id=campaign_id, opens_at=opens_at, closes_at=closes_at, reason=reason)


def get(*, campaign_id: int, include_closed: bool) -> Campaign:
    """One campaign. Raises `NotFound`, also for one that is not visible."""
    found = visible(include_closed=include_closed).filter(pk=campaign_id).first()
    return required(found, mark("There is no campaign {campaign_id}.", campaign_id=campaign_id))


def visible(*, include_closed: bool) -> "QuerySet[Campaign]":
    """The visible campaigns: scheduled, open and sold out ones; closed ones for staff only."""
    return Campaign.objects.filter(Q() if include_closed else Campaign.not_closed_at(clock.now()))


def in_status(status: str) -> Q:
    """The campaigns with this status now, as a condition on their rows: the twin of `Campaign.status_at`."""
    now = clock.now()
    if status == Status.CLOSED:
        return Q(closes_at__lte=now)
    if status == Status.PAUSED:
        return rows.is_paused(now)
    unpaused = Campaign.not_closed_at(now) & Q(paused_at__isnull=True)
    if status == Status.SCHEDULED:
        return unpaused & Q(opens_at__gt=now)
    begun = unpaused & Q(opens_at__lte=now)
    is_pool = Q(code_source=Campaign.CodeSource.POOL)
    if status == Status.AWAITING_CODES:
        return begun & is_pool & Q(codes_added=0)
    taken = F("issued") + F("confirming")
    has_left = rows.issues_at(now) & (~is_pool | Q(codes_added__gt=taken))
    return has_left if status == Status.OPEN else begun & ~has_left & ~(is_pool & Q(codes_added=0))


def running() -> "QuerySet[Campaign]":
    """The campaigns that issue coupons now: open, not paused, and not sold out."""
    return Campaign.objects.filter(rows.issues_at(clock.now()))


def terms_of(campaign: Campaign) -> dict[str, Any]:
    """The campaign's terms by their names."""
    columns = {name: getattr(campaign, name) for name in TERMS if name != PRODUCTS}
    return columns | {PRODUCTS: campaign.product_ids}


def skus(product_ids: Collection[int]) -> list[str]:
    """The SKUs of these products, in order."""
    return sorted(Product.objects.filter(pk__in=product_ids).values_list("sku", flat=True))


def set_paused(*, campaign_id: int, is_paused: bool, reason: str | None) -> Campaign:
    """Pause the campaign, or end its pause, after which it issues coupons as far as its terms allow.

    Once a pause returns, no process issues a coupon of it until it is resumed. Durable on return; a campaign
    that is so already stays as it is. With None, `pausing.explain` adds the reason. Raises
    `NotFound`, and `Invalid` for an empty reason.
    """

    def lock() -> Campaign:
        get(campaign_id=campaign_id, include_closed=True)
        return Campaign.objects.select_for_update().get(pk=campaign_id)

    return pausing.set_paused(lock, "campaign", is_paused=is_paused, reason=reason)


def partner_note(campaign: Campaign) -> str:
    """What a pause doesn't stop, for operators: the slots that a partner is confirming; empty without any."""
    number = campaign.confirming
    if not number:
        return ""
    return ngettext(
        "%(count)s coupon waits for the partner's confirmation.",
        "%(count)s coupons wait for the partner's confirmation.",
        number,
    ) % {"count": f"{number:,}"}


def _changed_terms(present: GivenValues, terms: GivenValues) -> dict[str, Any]:
    """The terms that differ from the present ones."""
    given = {**terms}
    if PRODUCTS in given:
        given[PRODUCTS] = sorted(set(given[PRODUCTS]))
    if given.get("code_source", present["code_source"]) != Campaign.CodeSource.SHARED:
        # A campaign that is shared no longer loses its shared code.
        given.setdefault("shared_code", None)
    return {name: value for name, value in given.items() if value != present[name]}


def _write_changed(campaign: Campaign, changed: GivenValues) -> None:
    """Write these terms to the locked campaign, in the caller's transaction, if they are valid together."""
    columns = {name: value for name, value in changed.items() if name != PRODUCTS}
    if PRODUCTS in changed:
        columns["is_limited_to_products"] = bool(changed[PRODUCTS])
    for name, value in columns.items():
        setattr(campaign, name, value)
    _require_valid(campaign, changed)
    _require_approval(campaign, CHANGE, {**changed, "campaign_id": campaign.pk})
    campaign.version += 1
    if changed:
        campaign.updated_at = clock.now()
    campaign.save(update_fields=[*columns, "updated_at", "version"])
    if code := changed.get("shared_code"):
        pool.claim_shared(campaign_id=campaign.pk, code=code)
    if PRODUCTS in changed:
        _replace_products(campaign, changed[PRODUCTS])


def _require_valid(campaign: Campaign, changed: GivenValues) -> None:
    """Refuse terms that contradict each other, and changed ones that are unknown or taken.

    A campaign may keep its strategy and partner even if they are no longer available to others.
    """
    _refuse(
        [
            (
                campaign.closes_at and campaign.closes_at <= campaign.opens_at,
                "closes_at",
                "not_after_opening",
                mark("The campaign must close after it opens."),
            ),
            (
                campaign.discount_type == "percent" and campaign.discount_value > 100,
                "discount.value",
                "over_100_percent",
                mark("A percentage must be 1 to 100."),
            ),
            *_faults_of_code(campaign),
            *_faults_of_choices(campaign, changed),
            *_faults_for_everybody(campaign, changed),
        ]
    )
    code = campaign.shared_code
    if "shared_code" in changed and code and pool.existing_codes([code]):
        raise pool.code_exists(code)


def _faults_of_code(campaign: Campaign) -> list[Fault]:
    """The faults of a campaign whose strategy or shared code doesn't fit where its codes come from."""
    code = campaign.shared_code
    is_shared = campaign.code_source == "shared"
    has_pool = campaign.code_source == "pool"
    suited = ", ".join(STRATEGIES_OF_SHARED_CODES)
    return [
        (
            campaign.strategy == "code_pool" and not has_pool,
            "code_source",
            "pool_required",
            mark("The strategy code_pool needs codes from a pool."),
        ),
        (
            code is not None and not is_shared,
            "shared_code",
            "not_shared",
            mark("Only a campaign whose code source is shared has a shared code."),
        ),
        (
            code is None and is_shared,
            "shared_code",
            "required",
            mark("A campaign whose code source is shared needs its code."),
        ),
        (
            code is not None and is_shared and not re.match(code_format.GIVEN_PATTERN, code),
            "shared_code",
            "not_a_code",
            mark("A code has 1 to 64 characters: letters, digits, . _ ~ and -, the first no sign."),
        ),
        (
            is_shared and campaign.strategy not in STRATEGIES_OF_SHARED_CODES,
            "strategy",
            "not_for_shared_code",
            mark("With a shared code the strategy must be one of {strategies}.", strategies=suited),
        ),
        (
            is_shared and campaign.partner,
            "partner",
            "not_for_shared_code",
            mark("A partner can't confirm the coupons of a shared code."),
        ),
    ]


def _faults_of_choices(campaign: Campaign, changed: GivenValues) -> list[Fault]:
    """The faults of a strategy, partner or products that are not there, or not for each other."""
    strategy = campaign.strategy
    partner = campaign.partner
    usable = issuing.available_strategies()
    products = changed.get(PRODUCTS, ())
    asked = products[:MOST_PRODUCTS]
    known = set(Product.objects.filter(pk__in=asked).values_list("pk", flat=True))
    unknown = [str(product_id) for product_id in asked if product_id not in known]
    return [
        (
            strategy in issuing.LAB_ONLY and partner,
            "partner",
            "never_asked",
            mark("The strategy {strategy} asks no partner.", strategy=strategy),
        ),
        (
            "strategy" in changed and strategy not in usable,
            "strategy",
            "not_available",
            mark("The strategy must be one of {strategies}.", strategies=", ".join(usable)),
        ),
        (
            "partner" in changed and partner and partner not in partners.configured(),
            "partner",
            "not_configured",
            mark("No partner {name} is configured here.", name=partner),
        ),
        (
            len(products) > MOST_PRODUCTS,
            "products",
            "too_many",
            mark("A campaign may name {most} products at most.", most=MOST_PRODUCTS),
        ),
        (
            unknown,
            "products",
            "unknown",
            mark("There are no products {products}.", products=", ".join(unknown[:UNKNOWN_SHOWN])),
        ),
    ]


def _faults_for_everybody(campaign: Campaign, changed: GivenValues) -> list[Fault]:
    """The faults of a campaign for everybody whose strategy, or pool, needs a quantity."""
    if campaign.quantity is not None:
        return []
    is_unsuited = campaign.strategy not in {*STRATEGIES_FOR_EVERYBODY, *issuing.LAB_ONLY}
    is_of_change = "strategy" in changed and "quantity" not in changed
    suited = ", ".join(STRATEGIES_FOR_EVERYBODY)
    return [
        (
            campaign.code_source == "pool" or (is_unsuited and not is_of_change),
            "quantity",
            "number_required",
            mark(
                "For everybody the strategy must be one of {strategies}, and the codes can't come from a "
                "pool.",
                strategies=suited,
            ),
        ),
        (
            is_unsuited and is_of_change,
            "strategy",
            "not_for_everybody",
            mark(
                "The campaign is for everybody: its strategy must be one of {strategies}.", strategies=suited
            ),
        ),
    ]


def _require_approval(campaign: Campaign, kind: str, terms: GivenValues) -> None:
    """Refuse costly terms of a campaign whose discount is an amount that one operator may not give alone."""
    most = settings.DISCOUNT_LIMIT_AMOUNT
    if most is None or campaign.discount_type == "percent" or campaign.discount_value <= most:
        return
    if approvals.is_bound() and terms.keys() - FREE:
        text = mark(
            "A discount above {most} takes two operators, and is asked for in the admin.",
            most=format_amount(most),
        )
        subject = f"campaign {campaign.pk or 'new'}"
        raise approvals.ApprovalRequired(text, kind=kind, subject=subject, terms=terms)


def _require_changeable(campaign: Campaign, changed: dict[str, object]) -> None:
    """Refuse changes that the coupons issued so far don't allow."""
    quantity = changed.get("quantity", campaign.quantity)
    taken = campaign.issued + campaign.confirming
    if isinstance(quantity, int) and quantity < taken:
        raise Rejected(
            mark("{taken} coupons are issued already; the quantity can't go below.", taken=taken),
            code="quantity_below_issued",
        )
    fixed = [name for name in FIXED_ONCE_ISSUED if name in changed]
    # After a strategy of the lab the other strategies can't continue a campaign, nor the other way round.
    if issuing.LAB_ONLY & {campaign.strategy, changed.get("strategy")} and "strategy" in changed:
        fixed.append("strategy")
    if taken and fixed:
        raise Rejected(
            mark("Coupons of this campaign are out; {terms} can't change any more.", terms=", ".join(fixed)),
            code="campaign_has_coupons",
        )


def _require_raised(campaign: Campaign, quantity: int | None) -> None:
    """Refuse a quantity that is not above the campaign's, and any for a campaign for everybody."""
    had = campaign.quantity
    if had is None:
        detail = mark("{campaign} is for everybody: there is no quantity to raise.", campaign=campaign.name)
    elif quantity is not None and quantity <= had:
        detail = mark("The quantity is {quantity} already, and is only raised here.", quantity=had)
    else:
        return
    raise invalid_field("quantity", "not_raised", detail)


def _require_in_future(times: Mapping[str, datetime | None]) -> None:
    _refuse(
        [(at and at <= clock.now(), term, "not_in_future", IN_THE_PAST[term]) for term, at in times.items()]
    )


def _refuse(possible: Iterable[Fault]) -> None:
    """Raise `Invalid` with every fault that is there."""
    faults = [
        {"field": field, "code": code, "detail": detail}
        for is_there, field, code, detail in possible
        if is_there
    ]
    if faults:
        raise Invalid(lazy_texts.join(" ", [fault["detail"] for fault in faults]), errors=faults)


@contextmanager
def _shared_code_free(code: str | None) -> Iterator[None]:
    """Raise `Rejected` `code_exists` if a campaign or pool has just taken the code that the block writes."""
    try:
        yield
    except IntegrityError as error:
        if code and re.search(SHARED_CODE_KEYS, str(error)):
            raise pool.code_exists(code) from error
        raise


def _replace_products(campaign: Campaign, product_ids: Collection[int]) -> None:
    """Have the discount count over these products' lines, or over all; part of the campaign's transaction."""
    CampaignProduct.objects.filter(campaign=campaign).delete()
    CampaignProduct.objects.bulk_create(
        CampaignProduct(campaign=campaign, product_id=id) for id in product_ids
    )


approvals.register_terms(
    CREATE, title=mark("Create a campaign"), permission="coupons.add_campaign", write=create
)
approvals.register_terms(
    CHANGE, title=mark("Change a campaign"), permission="coupons.change_campaign", write=change
)
