"""Which tables go together when the shop is sharded by what is contended, and the columns that say where.

The design is in docs/scale.md. A family's rows with the same key are on one shard; tables that every family's
transactions write are on each shard, for the rows of that shard alone; the rest stays unsharded.
"""

from collections.abc import Collection
from enum import Enum


class Family(Enum):
    """What a shard holds: rows of campaigns, of products, of sales, of accounts; of all of them; of none."""

    CAMPAIGN = "campaign"
    PRODUCT = "product"
    SALE = "sale"
    ACCOUNT = "account"
    LOCAL = "local"
    UNSHARDED = "unsharded"


# An order, payment or saga is on the shard of its account: the design puts the shard's number into their ids,
# so that each of these columns leads there.
KEYS: dict[str, tuple[Family, Collection[str]]] = {
    "coupons_campaign": (Family.CAMPAIGN, {"id"}),
    "coupons_coupon": (Family.CAMPAIGN, {"campaign_id"}),
    "coupons_poolcode": (Family.CAMPAIGN, {"campaign_id"}),
    "coupons_confirmation": (Family.CAMPAIGN, {"campaign_id"}),
    "coupons_queueticket": (Family.CAMPAIGN, {"campaign_id"}),
    "coupons_campaignproduct": (Family.CAMPAIGN, {"campaign_id"}),
    "coupons_eligibleaccount": (Family.CAMPAIGN, {"campaign_id"}),
    "inventory_product": (Family.PRODUCT, {"id"}),
    "inventory_stockmovement": (Family.PRODUCT, {"product_id"}),
    "sales_sale": (Family.SALE, {"id"}),
    "sales_saleproduct": (Family.SALE, {"sale_id"}),
    "sales_saleentry": (Family.SALE, {"sale_id"}),
    "auth_user": (Family.ACCOUNT, {"id"}),
    "shop_idempotencykey": (Family.ACCOUNT, {"account_id"}),
    "shop_signout": (Family.ACCOUNT, {"account_id"}),
    "orders_order": (Family.ACCOUNT, {"id", "account_id"}),
    "orders_orderline": (Family.ACCOUNT, {"order_id"}),
    "orders_refund": (Family.ACCOUNT, {"id", "order_id"}),
    "orders_refundline": (Family.ACCOUNT, {"refund_id"}),
    "orders_saga": (Family.ACCOUNT, {"id", "subject_id", "about_id"}),
    "orders_sagalog": (Family.ACCOUNT, {"saga_id"}),
    "coupons_firstorderuse": (Family.ACCOUNT, {"account_id", "order_id"}),
    "payments_payment": (Family.ACCOUNT, {"id", "account_id", "order_id", "charge_key"}),
    "payments_ledgeraccount": (Family.ACCOUNT, {"id", "user_id"}),
    "payments_transfer": (Family.ACCOUNT, {"id", "order_id", "reference"}),
    "payments_entry": (Family.ACCOUNT, {"transfer_id", "account_id"}),
    "shop_journalline": (Family.LOCAL, {"id", "order_id", "subject"}),
    "shop_committedtransaction": (Family.LOCAL, {"id"}),
    "shop_recordedtrace": (Family.LOCAL, {"id"}),
}
SHARDED = (Family.CAMPAIGN, Family.PRODUCT, Family.SALE, Family.ACCOUNT)


def family_of(table: str) -> Family:
    """Where the table's rows are; what is not named stays unsharded."""
    return KEYS[table][0] if table in KEYS else Family.UNSHARDED


def keys_of(table: str) -> Collection[str]:
    """The columns of which one has to be known to find a row's shard."""
    return KEYS[table][1] if table in KEYS else ()


def families_of(tables: Collection[str]) -> set[Family]:
    """The sharded families among these tables."""
    return {family_of(table) for table in tables}.intersection(SHARDED)
