"""Campaigns: creating, changing and pausing them, and which of them are visible."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypedDict, Unpack

from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.utils.translation import ngettext

from coupons import partners, remembered
from coupons.allocation import eligibility
from coupons.codes import codes, pool
from coupons.issuing import issuing
from coupons.models import Campaign, CampaignProduct
from inventory.models import Product
from shop import clock, lazy_texts, pausing
from shop.db import transactions
from shop.errors import Invalid, Rejected, invalid_field, required
from shop.journal import journal
from shop.lazy_texts import Text, mark as _


class Terms(TypedDict, total=False):
    """The terms of a campaign that staff set, named as its columns; amounts in minor units.

    `products` are the ids of the products whose lines the discount counts over; none: it counts over all.
    """

    name: str
    strategy: str
    quantity: int
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
SAFE_LENGTH = 8
"""Shorter shared codes are guessed sooner than the limits of wrong codes suggest."""
SHARED_CODE_KEY = "coupons_campaign_shared_code_is_unique"
MOST_PRODUCTS = 1_000
UNKNOWN_SHOWN = 10
PRODUCTS = "products"
TERMS = tuple(Terms.__annotations__)
NOT_IN_FUTURE = {
    "opens_at": _("The campaign must open in the future (times are UTC)."),
    "closes_at": _("The campaign must close in the future (times are UTC)."),
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


def create(*, reason: str = "", **terms: Unpack[Terms]) -> Campaign:
    """Create a campaign; it opens at once unless the terms have `opens_at`. The journal keeps the `reason`.

    Durable when it returns, unless the caller has a transaction open. Raises `Invalid` with every field that
    is wrong, and `Rejected` `code_exists` for a shared code that is taken.
    """
    given: Any = {"opens_at": clock.now(), **terms}
    products = sorted(set(given.pop(PRODUCTS, ())))
    campaign = Campaign(**given, is_limited_to_products=bool(products))
    _require_valid(campaign, terms | {PRODUCTS: products})

    def insert() -> Campaign:
        created = Campaign.objects.create(**given, is_limited_to_products=bool(products))
        _replace_products(created, products)
        subject = f"campaign {created.pk}"
        journal.note(what="campaign.created", subject=subject, after=terms_of(created), detail=reason)
        return created

    try:
        return transactions.run_or_savepoint(insert, transactions.ONCE)
    except IntegrityError as error:
        _raise_if_taken(error, campaign.shared_code)
        raise


def raise_quantity(*, campaign_id: int, quantity: int, reason: str) -> Campaign:
    """Raise the campaign's quantity, also while it issues coupons; `reason` is kept in the journal.

    Of two that raise it at once the higher one stays. Raises `NotFound`; `Invalid` `not_raised` unless it is
    above the quantity that the campaign has by then.
    """

    def require_raised(campaign: Campaign) -> None:
        if quantity <= campaign.quantity:
            raise invalid_field(
                "quantity",
                "not_raised",
                _("The quantity is {quantity} already, and is only raised here.", quantity=campaign.quantity),
            )

    return change(campaign_id=campaign_id, reason=reason, require=require_raised, quantity=quantity)


def change(
    *,
    campaign_id: int,
    reason: str = "",
    require: Callable[[Campaign], None] = lambda campaign: None,
    **terms: Unpack[Terms],
) -> Campaign:
    """Change these terms of a campaign, also while it issues coupons; `reason` is kept in the journal.

    All processes use a new strategy within a second. `require` sees the campaign as it is before, under its
    lock, and refuses by raising. Raises `NotFound`; `Invalid` with every field that is wrong; `Rejected`
    `quantity_below_issued`, `campaign_has_coupons` for terms that issued coupons depend on, and
    `code_exists`.
    """
    get(campaign_id=campaign_id, include_closed=True)

    def work() -> Campaign:
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        require(campaign)
        present = terms_of(campaign)
        given: dict[str, Any] = {**terms}
        if PRODUCTS in given:
            given[PRODUCTS] = sorted(set(given[PRODUCTS]))
        if given.get("code_source", present["code_source"]) != Campaign.CodeSource.SHARED:
            # A campaign that is shared no longer loses its shared code.
            given.setdefault("shared_code", None)
        changed = {name: value for name, value in given.items() if value != present[name]}
        _require_changeable(campaign, changed)
        before = {name: present[name] for name in changed}
        columns = {name: value for name, value in changed.items() if name != PRODUCTS}
        if PRODUCTS in changed:
            columns["is_limited_to_products"] = bool(changed[PRODUCTS])
        for name, value in columns.items():
            setattr(campaign, name, value)
        _require_valid(campaign, changed)
        campaign.version += 1
        campaign.save(update_fields=[*columns, "version"])
        if PRODUCTS in changed:
            _replace_products(campaign, changed[PRODUCTS])
        if changed:
            journal.note(
                what="campaign.changed",
                subject=f"campaign {campaign.pk}",
                before=before,
                after=changed,
                detail=reason,
            )
        return campaign

    try:
        campaign = transactions.run(work, transactions.ONCE)
    except IntegrityError as error:
        _raise_if_taken(error, terms.get("shared_code"))
        raise
    remembered.terms_changed(campaign_id=campaign_id)
    return campaign


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
            _(
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
    return required(found, _("There is no campaign {campaign_id}.", campaign_id=campaign_id))


def visible(*, include_closed: bool) -> "QuerySet[Campaign]":
    """The visible campaigns: scheduled, open and sold out ones; closed ones for staff only."""
    return Campaign.objects.filter(Q() if include_closed else Campaign.not_closed_at(clock.now()))


def running() -> "QuerySet[Campaign]":
    """The campaigns that issue coupons now: open, not paused, and not sold out."""
    return Campaign.objects.filter(eligibility.issues_at(clock.now()))


def terms_of(campaign: Campaign) -> dict[str, Any]:
    """The campaign's terms by their names."""
    columns = {name: getattr(campaign, name) for name in TERMS if name != PRODUCTS}
    return columns | {PRODUCTS: campaign.product_ids}


def skus(product_ids: Collection[int]) -> list[str]:
    """The SKUs of these products, in order."""
    return sorted(Product.objects.filter(pk__in=product_ids).values_list("sku", flat=True))


def ids_of_skus(wanted: Collection[str]) -> dict[str, int]:
    """The ids of the products with these SKUs, by SKU; unknown ones are absent."""
    return dict(Product.objects.filter(sku__in=wanted).values_list("sku", "pk"))


def set_paused(*, campaign_id: int, is_paused: bool, reason: str) -> Campaign:
    """Pause the campaign, or end its pause, after which it issues coupons as far as its terms allow.

    Once a pause returns, no process issues a coupon of it until it is resumed. Durable on return; a campaign
    that is so already stays as it is. Raises `NotFound`, and `Invalid` without a reason.
    """

    def lock() -> Campaign:
        get(campaign_id=campaign_id, include_closed=True)
        return Campaign.objects.select_for_update().get(pk=campaign_id)

    return pausing.set_paused(lock, "campaign", is_paused=is_paused, reason=reason)


pause, resume = partial(set_paused, is_paused=True), partial(set_paused, is_paused=False)


def partner_note(campaign: Campaign) -> str:
    """What a pause doesn't stop, for operators: the slots that a partner is confirming; empty without any."""
    number = campaign.confirming
    if not number:
        return ""
    return ngettext(
        "%(count)s slot is with the partner and may still become a coupon.",
        "%(count)s slots are with the partner and may still become coupons.",
        number,
    ) % {"count": f"{number:,}"}


def _require_valid(campaign: Campaign, changed: Mapping[str, Any]) -> None:
    """Refuse terms that contradict each other, and changed ones that are unknown or taken.

    A campaign may keep its strategy and partner even if they are no longer available to others.
    """
    faults, usable, partner = [*_faults(campaign)], issuing.available_strategies(), campaign.partner
    if "strategy" in changed and campaign.strategy not in usable:
        detail = _("The strategy must be one of {strategies}.", strategies=", ".join(usable))
        faults.append(_fault("strategy", "not_available", detail))
    if "partner" in changed and partner and partner not in partners.configured():
        detail = _("No partner {name} is configured here.", name=partner)
        faults.append(_fault("partner", "not_configured", detail))
    _check([*faults, *_faults_of_products(changed.get(PRODUCTS, ()))])
    code = campaign.shared_code
    if "shared_code" in changed and code and pool.existing_codes([code]):
        raise pool.code_exists(code)


def _require_changeable(campaign: Campaign, changed: dict[str, object]) -> None:
    """Refuse changes that the coupons issued so far don't allow."""
    quantity = changed.get("quantity", campaign.quantity)
    taken = campaign.issued + campaign.confirming
    if isinstance(quantity, int) and quantity < taken:
        raise Rejected(
            _("{taken} coupons are issued already; the quantity can't go below.", taken=taken),
            code="quantity_below_issued",
        )
    fixed = [name for name in FIXED_ONCE_ISSUED if name in changed]
    # After a strategy of the lab the other strategies can't continue a campaign, nor the other way round.
    if issuing.LAB_ONLY & {campaign.strategy, changed.get("strategy")} and "strategy" in changed:
        fixed.append("strategy")
    if taken and fixed:
        raise Rejected(
            _("Coupons of this campaign are out; {terms} can't change any more.", terms=", ".join(fixed)),
            code="campaign_has_coupons",
        )


def _faults(campaign: Campaign) -> Iterator[dict[str, Text]]:
    """Contradictions between the terms; for discount and times the database has the same constraints."""
    if campaign.closes_at is not None and campaign.closes_at <= campaign.opens_at:
        yield _fault("closes_at", "not_after_opening", _("The campaign must close after it opens."))
    if campaign.discount_type == Campaign.DiscountType.PERCENT and campaign.discount_value > 100:
        yield _fault("discount.value", "over_100_percent", _("A percentage must be 1 to 100."))
    if campaign.strategy == "code_pool" and campaign.code_source != Campaign.CodeSource.POOL:
        yield _fault("code_source", "pool_required", _("The strategy code_pool needs codes from a pool."))
    yield from _faults_of_shared_code(campaign)
    if campaign.strategy in issuing.LAB_ONLY and campaign.partner:
        yield _fault(
            "partner",
            "never_asked",
            _("The strategy {strategy} asks no partner.", strategy=campaign.strategy),
        )


def _require_in_future(times: Mapping[str, datetime | None]) -> None:
    past = [term for term, at in times.items() if at is not None and at <= clock.now()]
    _check([_fault(term, "not_in_future", NOT_IN_FUTURE[term]) for term in past])


def _check(faults: list[dict[str, Text]]) -> None:
    if faults:
        raise Invalid(lazy_texts.join(" ", [fault["detail"] for fault in faults]), errors=faults)


def _faults_of_shared_code(campaign: Campaign) -> Iterator[dict[str, Text]]:
    """What is wrong with the terms of a campaign with a shared code, or with the code of another one."""
    if campaign.code_source != Campaign.CodeSource.SHARED:
        if campaign.shared_code is not None:
            detail = _("Only a campaign whose code source is shared has a shared code.")
            yield _fault("shared_code", "not_shared", detail)
        return
    if campaign.shared_code is None:
        yield _fault("shared_code", "required", _("A campaign whose code source is shared needs its code."))
    elif not re.match(codes.GIVEN_PATTERN, campaign.shared_code):
        detail = _("A code has 1 to 64 characters: letters, digits, . _ ~ and -, the first no sign.")
        yield _fault("shared_code", "not_a_code", detail)
    if campaign.strategy not in STRATEGIES_OF_SHARED_CODES:
        detail = _(
            "With a shared code the strategy must be one of {strategies}.",
            strategies=", ".join(STRATEGIES_OF_SHARED_CODES),
        )
        yield _fault("strategy", "not_for_shared_code", detail)
    if campaign.partner:
        detail = _("A partner can't confirm the coupons of a shared code.")
        yield _fault("partner", "not_for_shared_code", detail)


def _raise_if_taken(error: IntegrityError, code: str | None) -> None:
    """Raise `Rejected` `code_exists` if the error says that another campaign has just taken the code."""
    # SQLite names the column instead of the key.
    if code and (SHARED_CODE_KEY in str(error) or "coupons_campaign.shared_code" in str(error)):
        raise pool.code_exists(code) from error


def _faults_of_products(product_ids: Collection[int]) -> Iterator[dict[str, Text]]:
    """What is wrong with these products of a campaign: too many, or unknown ones."""
    if len(product_ids) > MOST_PRODUCTS:
        detail = _("A campaign may name {most} products at most.", most=MOST_PRODUCTS)
        yield _fault("products", "too_many", detail)
        return
    known = set(Product.objects.filter(pk__in=product_ids).values_list("pk", flat=True))
    unknown = [str(product_id) for product_id in product_ids if product_id not in known]
    if unknown:
        shown = ", ".join(unknown[:UNKNOWN_SHOWN])
        yield _fault("products", "unknown", _("There are no products {products}.", products=shown))


def _replace_products(campaign: Campaign, product_ids: Collection[int]) -> None:
    """Have the discount count over these products' lines, or over all; part of the campaign's transaction."""
    CampaignProduct.objects.filter(campaign=campaign).delete()
    CampaignProduct.objects.bulk_create(
        CampaignProduct(campaign=campaign, product_id=id) for id in product_ids
    )


def _fault(field: str, code: str, detail: Text) -> dict[str, Text]:
    """An entry of the errors of `Invalid`."""
    return {"field": field, "code": code, "detail": detail}
