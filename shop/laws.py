"""All laws of the shop, and the apps' audits that check them: `register` tells them to the audit."""

from collections.abc import Sequence

from django.utils.translation import gettext_noop

from coupons import audit as coupons
from events import audit as events
from foundation.operations.audits import laws
from foundation.operations.audits.checks import Subject, WholeCheck
from foundation.operations.audits.laws import Audit
from inventory import audit as inventory
from orders import audit as orders
from payments import audit as payments
from sales import audit as sales

# Translated where they are shown.
LAWS = {
    "L1": gettext_noop("issued of a campaign = its coupons, and never exceeds quantity"),
    "L2": gettext_noop("one coupon per account and campaign; positions without gaps or repeats"),
    "L3": gettext_noop("a pool code belongs to at most one coupon, and no code is lost"),
    "L4": gettext_noop("0 ≤ reserved ≤ on hand for every product"),
    "L5": gettext_noop(
        "on hand = the sum of movements; reserved = the lines of open orders; a product's day = its orders "
        "and refunds"
    ),
    "L6": gettext_noop("a coupon is held or redeemed by one order, and held only by an open one"),
    "L7": gettext_noop("a wallet's balance = its entries, never negative; transfers sum to zero"),
    "L8": gettext_noop("one idempotency key, one effect"),
    "L9": gettext_noop("a paid order has exactly one charge of its amount; any other has none"),
    "L10": gettext_noop("no saga is unfinished past its deadline unless visible as stuck"),
    "L11": gettext_noop("an order that ended unpaid holds no stock, no coupon, no points"),
    "L12": gettext_noop("every paid order's event reached the data platform, or is retried"),
    "L13": gettext_noop(
        "an account's units in open and paid orders are within the largest limit they were placed under"
    ),
    "L14": gettext_noop(
        "a sale admits no more in 60 s than its rate; its orders keep the admitted entry that they used"
    ),
    "L15": gettext_noop("each event is in the feed once, at positions without gaps"),
    "L16": gettext_noop("an account's entries of a sale belong to one open or paid order at most"),
}
AUDITS: Sequence[tuple[Audit, Sequence[str]]] = (
    (coupons.audit, ("L1", "L2", "L3", "L6")),
    (inventory.audit, ("L4", "L5", "L8")),
    (payments.audit, ("L7",)),
    (sales.audit, ("L14",)),
    (events.audit, ("L15",)),
    (orders.audit, ("L5", "L6", "L8", "L9", "L10", "L11", "L12", "L13", "L14", "L16")),
)
# Of the scheduled audit.
SUBJECTS: Sequence[Subject] = (
    *coupons.SUBJECTS,
    *inventory.SUBJECTS,
    *payments.SUBJECTS,
    *sales.SUBJECTS,
    *events.SUBJECTS,
    *orders.SUBJECTS,
)
WHOLE_CHECKS: Sequence[WholeCheck] = (*inventory.WHOLE_CHECKS, *events.WHOLE_CHECKS, *orders.WHOLE_CHECKS)


def register() -> None:
    laws.LAWS.update(LAWS)
    laws.AUDITS += AUDITS
    laws.SUBJECTS += SUBJECTS
    laws.WHOLE_CHECKS += WHOLE_CHECKS
